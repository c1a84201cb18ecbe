import { Agent, type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';

/** `fetch` would cost the client more than the server needs. */
const agent = new Agent({ keepAlive: true, maxSockets: 64 });
const RSS_EVERY_MS = 200;

/** Sends an operation; throws when the answer has errors. */
export function post<Data>(
  url: string,
  token: string | undefined,
  body: object,
  { path = '/graphql', headers = {} }: { path?: string; headers?: Readonly<Record<string, string>> } = {},
): Promise<Data> {
  const sent = JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const call = request(
      `${url}${path}`,
      {
        agent,
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(sent),
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...headers,
        },
      },
      (response: IncomingMessage) => {
        text(response)
          .then((answered) => {
            const answer = JSON.parse(answered) as { data: Data; errors?: unknown };
            if (answer.errors) throw new Error(JSON.stringify(answer.errors));
            return answer.data;
          })
          .then(resolve, reject);
      },
    );
    call.on('error', reject);
    call.end(sent);
  });
}

/** A number of /metrics. */
export async function metric(url: string, name: string): Promise<number> {
  const body = await (await fetch(`${url}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(body)![1]);
}

/** The most memory a server was seen to have while the work went on, in MiB. */
export async function rssDuring(url: string, work: () => Promise<unknown>): Promise<number> {
  let most = 0;
  const look = async () => {
    most = Math.max(most, (await metric(url, 'process_resident_memory_bytes')) / 2 ** 20);
  };
  const timer = setInterval(() => void look(), RSS_EVERY_MS);
  try {
    await look();
    await work();
    await look();
  } finally {
    clearInterval(timer);
  }
  return most;
}
