import { Agent, request } from 'node:http';

/** `fetch` would cost the client more than the server needs. */
const agent = new Agent({ keepAlive: true, maxSockets: 64 });

/** Sends an operation; throws when the answer has errors. */
export function post<Data>(url: string, token: string | undefined, body: object): Promise<Data> {
  const text = JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const sent = request(
      `${url}/graphql`,
      {
        agent,
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(text),
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const answer = JSON.parse(Buffer.concat(chunks).toString()) as { data: Data; errors?: unknown };
          if (answer.errors) reject(new Error(JSON.stringify(answer.errors)));
          else resolve(answer.data);
        });
      },
    );
    sent.on('error', reject);
    sent.end(text);
  });
}
