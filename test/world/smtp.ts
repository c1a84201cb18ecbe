import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

/** A mail as the server was handed it. */
interface ReceivedMail {
  readonly from: string;
  readonly to: readonly string[];
  /** Headers and body, lines ended by LF, dot-stuffing undone. */
  readonly source: string;
}

/** A mail server on a port of its own that takes everything and keeps it. */
export interface SmtpSink {
  readonly url: string;
  readonly mails: readonly ReceivedMail[];
  /** How many connections were opened so far. */
  readonly connections: number;
  /** From now on answers this to RCPT TO, for example `550 no such user`. */
  refuseRecipients(answer: string): void;
  stop(): Promise<void>;
}

/** Opens the sink on a free port of 127.0.0.1. It speaks as much of RFC 5321 as a client needs to deliver. */
export async function openSmtpSink(): Promise<SmtpSink> {
  const mails: ReceivedMail[] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  let recipientAnswer = '250 OK';

  const server = createServer((socket) => {
    connections++;
    sockets.add(socket.on('close', () => sockets.delete(socket)).on('error', () => socket.destroy()));
    void converse(socket).catch(() => socket.destroy());
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');

  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The mail sink has no port.');

  return {
    url: `smtp://127.0.0.1:${address.port}`,
    mails,
    get connections() {
      return connections;
    },
    refuseRecipients(answer) {
      recipientAnswer = answer;
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };

  async function converse(socket: Socket) {
    const say = (line: string) => socket.write(`${line}\r\n`);
    const lines = createInterface({ input: socket, crlfDelay: Infinity })[Symbol.asyncIterator]();
    let from = '';
    let to: string[] = [];
    say('220 sink');
    for (let next = await lines.next(); !next.done; next = await lines.next()) {
      const line = next.value;
      const verb = line.slice(0, 4).toUpperCase();
      if (verb === 'MAIL') from = pathOf(line);
      if (verb === 'RCPT' && recipientAnswer.startsWith('2')) to.push(pathOf(line));
      if (verb === 'RCPT') say(recipientAnswer);
      else if (verb === 'DATA') {
        say('354 go on');
        mails.push({ from, to, source: await readData(lines) });
        [from, to] = ['', []];
        say('250 taken');
      } else if (verb === 'QUIT') {
        socket.end('221 bye\r\n');
      } else say('250 OK');
    }
  }
}

function pathOf(line: string): string {
  return /<([^>]*)>/.exec(line)?.[1] ?? '';
}

async function readData(lines: AsyncIterator<string>): Promise<string> {
  const source: string[] = [];
  for (let next = await lines.next(); !next.done && next.value !== '.'; next = await lines.next()) {
    source.push(next.value.replace(/^\./, ''));
  }
  return source.join('\n');
}
