import type { IncomingHttpHeaders } from 'node:http';

/** Which web pages may call: our own, and those that were named. */
export interface Origins {
  /** Whether a request comes from a page that may make it, or from no page at all. */
  allow(headers: IncomingHttpHeaders): boolean;
}

/** Reads the origins that are allowed besides a server's own: that of PUBLIC_URL, and CORS_ORIGINS. */
export function openOrigins(named: readonly string[]): Origins {
  const known = new Set(named.map((url) => new URL(url).origin));
  return {
    allow({ origin, host }) {
      if (origin === undefined) return true;
      return known.has(origin) || (URL.canParse(origin) && new URL(origin).host === host);
    },
  };
}

/**
 * Why a GET of the API is refused, in place of Apollo Server's own rule, which asks every GET for a special header. A page of
 * another site can have a browser send one, and learn from its time what the answer holds: so a read by GET is for same-origin
 * pages, named origins and programs. A body type other than JSON is how GHSA-9q82-xgwf-vj6h began. POST needs no rule: it takes
 * JSON only, which a browser sends to another site after a preflight, and there are no cookies to be misused.
 */
export function crossSiteFault(
  { method, headers }: { readonly method: string; readonly headers: IncomingHttpHeaders },
  origins: Origins,
): { readonly status: 403 | 415; readonly message: string } | undefined {
  if (method !== 'GET' && method !== 'HEAD') return undefined;
  const type = headers['content-type'];
  if (type !== undefined && !/^application\/(graphql-response\+)?json\s*(;|$)/i.test(type))
    return { status: 415, message: 'A GET has no content type, or that of JSON.' };
  const site = headers['sec-fetch-site'];
  const fromElsewhere = site === 'cross-site' || site === 'same-site';
  const named = headers.origin !== undefined && origins.allow(headers);
  if (!origins.allow(headers) || (fromElsewhere && !named))
    return {
      status: 403,
      message: 'A page of another site may not read by GET; CORS_ORIGINS names those that may.',
    };
  return undefined;
}
