/** What neighbours are asked. */
export const QUESTIONS = [
  'page of 50',
  'page of 50 and the total',
  'page 1,000',
  'of a user',
  'a rare action',
  'total count',
] as const;
export type Question = (typeof QUESTIONS)[number];

/** Something that answers the questions over HTTP. */
export interface Neighbour {
  readonly name: string;
  readonly ask: Readonly<Record<Question, () => Promise<unknown>>>;
}

/** What is asked about. */
export interface Subject {
  readonly tenantId: string;
  readonly userId: string;
  /** What the fewest records of the tenant are, by its key. */
  readonly action: string;
  /** So many records before the page that is deep. */
  readonly depth: number;
}

/** What is asked of each record. */
export const FIELDS = 'id createdAt action status resource changes ipAddress requestId';
