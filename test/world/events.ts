import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';

import type { EventSourceMessage } from 'eventsource-parser';
import { EventSourceParserStream } from 'eventsource-parser/stream';
import { onTestFinished } from 'vitest';

/** A stream of server-sent events, read by a parser that is not ours. */
export interface Events {
  /** The next event; undefined when the server has ended the stream. Rejects when the connection breaks. */
  next(): Promise<EventSourceMessage | undefined>;
  /** Takes events until `enough` says so; returns all taken, the last included. */
  until(enough: (event: EventSourceMessage) => boolean): Promise<EventSourceMessage[]>;
  close(): void;
}

/** What was answered, whatever it is. */
export type Answered = Response & { readonly hangUp: () => void };

/**
 * Asks for events, on a connection of its own: `fetch` opens spare ones, which hold up a server that stops. It is closed when the
 * test ends.
 */
export async function askEvents(
  url: string,
  token: string | undefined,
  { query = {}, lastEventId, accept = 'text/event-stream' }: EventsQuery = {},
): Promise<Answered> {
  const request = get(`${url.replace(/\/$/, '')}/feed/events?${new URLSearchParams(query).toString()}`, {
    agent: false,
    headers: {
      accept,
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
    },
  });
  onTestFinished(() => void request.destroy());
  const [message] = (await once(request, 'response')) as [IncomingMessage];
  request.on('error', () => {});
  const answer = new Response(Readable.toWeb(message) as ReadableStream, {
    status: message.statusCode!,
    headers: message.headers as Record<string, string>,
  });
  return Object.assign(answer, { hangUp: () => void request.destroy() });
}

export interface EventsQuery {
  readonly query?: Record<string, string>;
  readonly lastEventId?: string | undefined;
  readonly accept?: string;
}

/** Opens a stream. Throws what was answered instead. */
export async function openEvents(
  url: string,
  token: string | undefined,
  options: EventsQuery = {},
): Promise<Events> {
  const response = await askEvents(url, token, options);
  if (response.status !== 200) throw new Error(`${response.status}: ${await response.text()}`);
  const reader = response
    .body!.pipeThrough(new TextDecoderStream())
    .pipeThrough(new EventSourceParserStream({ onError: 'terminate' }))
    .getReader();
  const next = async () => {
    const { done, value } = await reader.read();
    return done ? undefined : value;
  };
  return {
    next,
    async until(enough) {
      const taken: EventSourceMessage[] = [];
      for (;;) {
        const event = await next();
        if (!event) throw new Error('The stream has ended.');
        taken.push(event);
        if (enough(event)) return taken;
      }
    },
    close: response.hangUp,
  };
}
