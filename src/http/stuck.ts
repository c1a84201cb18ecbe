import type { Context } from 'graphql-ws';
import type { Extra } from 'graphql-ws/use/ws';

/**
 * It takes events more slowly than they come, or not at all. Outside graphql-ws's list of fatal codes: clients connect again,
 * and go on from the last cursor they have received.
 */
const CLOSED_TOO_SLOW = 4413;

/**
 * Closes a connection whose client has taken nothing of what waits for it for `ms`, after twice as long at most, and ends its
 * operations. Nothing else is needed against slow clients: graphql-ws asks for the next event when the socket has handed the
 * former to the system, so one that reads slowly holds one event in each of its streams, however many happen.
 */
export function closeWhenStuck(
  { socket, request }: Extra,
  operations: Context['subscriptions'],
  ms: number,
): void {
  const wire = request.socket;
  /** Bytes handed to the system at the last look, if more were waiting. */
  let taken: number | undefined;
  const looking = setInterval(() => {
    const isWaiting = wire.writableLength > 0;
    const now = wire.bytesWritten - wire.writableLength;
    if (isWaiting && now === taken) {
      clearInterval(looking);
      socket.close(CLOSED_TOO_SLOW, 'Too slow');
      // Until the client has read that, or ws gives up after thirty seconds, it holds its connection, but no stream any more.
      for (const each of Object.values(operations)) void (each as AsyncGenerator | null)?.return(undefined);
    }
    taken = isWaiting ? now : undefined;
  }, ms);
  socket.once('close', () => clearInterval(looking));
}
