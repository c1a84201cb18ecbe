/** Who plays in the demo data: three companies, their people, and where they work from. */
import type { Role } from './generated/types.ts';

/** A demo tenant. The first of its staff registers it and administers it. */
export interface Company {
  readonly name: string;
  readonly subdomain: string;
  readonly staff: readonly (readonly [fullName: string, role: Role])[];
  /** The first three numbers of its addresses, of a network reserved for documentation (RFC 5737). */
  readonly network: string;
}

export const COMPANIES: readonly Company[] = [
  {
    name: 'Acme Robotics',
    subdomain: 'acme',
    network: '203.0.113',
    staff: [
      ['Anna Berg', 'TENANT_ADMIN'],
      ['Bruno Costa', 'TENANT_ADMIN'],
      ['Chiara Donati', 'AUDITOR'],
      ['Deniz Erdem', 'BRANCH_MANAGER'],
      ['Elif Fuchs', 'MEMBER'],
      ['Farid Gül', 'MEMBER'],
      ['Greta Holm', 'MEMBER'],
      ['Hugo Ivanov', 'MEMBER'],
      ['Ines Jansen', 'MEMBER'],
    ],
  },
  {
    name: 'Globex Health',
    subdomain: 'globex',
    network: '198.51.100',
    staff: [
      ['Jonas Keller', 'TENANT_ADMIN'],
      ['Kira Lindqvist', 'AUDITOR'],
      ['Luca Moretti', 'BRANCH_MANAGER'],
      ['Mona Nagy', 'MEMBER'],
      ['Nils Olsen', 'MEMBER'],
      ['Olga Petrova', 'MEMBER'],
      ['Pablo Quiroga', 'MEMBER'],
      ['Rosa Santos', 'MEMBER'],
    ],
  },
  {
    name: 'Initech Logistics',
    subdomain: 'initech',
    network: '192.0.2',
    staff: [
      ['Selma Toth', 'TENANT_ADMIN'],
      ['Tariq Usman', 'AUDITOR'],
      ['Ulla Virtanen', 'BRANCH_MANAGER'],
      ['Victor Weiss', 'MEMBER'],
      ['Wanda Xu', 'MEMBER'],
      ['Yusuf Zaman', 'MEMBER'],
      ['Zoe Adler', 'MEMBER'],
      ['Adam Brandt', 'MEMBER'],
    ],
  },
];

/** Where each company works. */
export const BRANCHES = [
  ['Headquarters', 'HQ'],
  ['Harbour', 'HRB'],
  ['Old Town', 'OLD'],
] as const;

/** Comes for some weeks and leaves: a user that is created and deleted. */
export const TRAINEE = 'Toni Maurer';

/** What the staff's browsers say they are. */
export const BROWSERS = [
  'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0',
  'Mozilla/5.0 (Macintosh; Intel Mac OS X 14_6) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15',
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36',
] as const;

/** Somebody from outside who guesses passwords; the address is of a network reserved for documentation (RFC 3849). */
export const INTRUDER = {
  request: { ipAddress: '2001:db8:bad::17', userAgent: 'python-requests/2.32.5' },
};

/** The e-mail of a person at a company: `anna.berg@acme.example`. */
export function emailAt({ subdomain }: Company, fullName: string): string {
  const [first, last] = fullName.normalize('NFD').replaceAll(/\p{M}/gu, '').toLowerCase().split(' ');
  return `${first}.${last}@${subdomain}.example`;
}
