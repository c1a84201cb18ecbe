/** What the people of the demo data do, each through the operation that does it. */
import type { Mutations } from './audit/act.ts';
import { BRANCHES, BROWSERS, type Company, emailAt, INTRUDER } from './demoCast.ts';
import type { Ending, Payload, Player, Stage } from './demoStage.ts';
import type { Role } from './generated/types.ts';

/** A little less than an access token is valid. */
const TOKEN_MICROS = 14n * 60_000_000n;

const PAIR = 'accessToken refreshToken';

/** One company's part of the demo data. */
export interface Play {
  readonly stage: Stage;
  readonly company: Company;
  readonly password: string;
}

/** Somebody who works there. */
export interface Employee extends Player {
  readonly fullName: string;
  readonly email: string;
  readonly role: Role;
  id: string;
  tenantId: string;
  /** Shut out: does nothing. */
  away: boolean;
  token?: string | undefined;
  refreshToken?: string | undefined;
  tokenAt: bigint;
}

/** Registers the company. */
export async function register({ stage, company, password }: Play, founder: Employee): Promise<void> {
  const { email, fullName } = founder;
  const input = { tenantName: company.name, subdomain: company.subdomain, email, password, fullName };
  const selection = `${PAIR} user { id tenantId }`;
  const payload = expected('register', await stage.play('register', input, founder, selection));
  Object.assign(founder, payload.user);
  keep(stage, founder, payload);
}

/** Has somebody in; the link for the password is in the mail. */
export async function hire(play: Play, admin: Employee, person: Employee): Promise<void> {
  const { email, fullName, role } = person;
  const created = await act(play, admin, 'createUser', { email, fullName, role }, 'user { id }');
  person.id = created.user!.id;
}

/** Sets the password through the link that was mailed last. */
export async function setPassword({ stage, password }: Play, person: Employee): Promise<void> {
  const token = mailedToken(stage, person);
  expected('resetPassword', await stage.play('resetPassword', { token, newPassword: password }, person));
  keep(stage, person, undefined);
}

/** Follows the link that proves an e-mail. */
export async function verifyEmail({ stage }: Play, person: Employee): Promise<void> {
  expected('verifyEmail', await stage.play('verifyEmail', { token: mailedToken(stage, person) }, person));
}

/** Opens the branches of the company, and says who works in which. */
export async function openBranches(play: Play, admin: Employee, staff: readonly Employee[]): Promise<void> {
  const ids = [];
  for (const [name, code] of BRANCHES) {
    const { branch } = await act(play, admin, 'createBranch', { name, code }, 'branch { id }');
    ids.push(branch!.id);
  }
  for (const [at, { id, role }] of staff.entries()) {
    const branchIds = role === 'BRANCH_MANAGER' ? [ids[0]] : role === 'MEMBER' ? [ids[at % ids.length]] : [];
    if (branchIds.length > 0) await act(play, admin, 'setUserBranches', { id, branchIds });
  }
}

/** Shuts somebody out, until they are let back in. */
export async function shutOut(play: Play, admin: Employee, person: Employee): Promise<void> {
  await act(play, admin, 'deactivateUser', { id: person.id, reason: 'on parental leave' });
  person.away = true;
  keep(play.stage, person, undefined);
}

/** Ends somebody's sessions; they sign in again. */
export async function endSessions(play: Play, admin: Employee, person: Employee): Promise<void> {
  await act(play, admin, 'revokeUserSessions', { id: person.id });
  keep(play.stage, person, undefined);
}

/** Lets somebody in again. */
export async function letBackIn(play: Play, admin: Employee, person: Employee): Promise<void> {
  await act(play, admin, 'activateUser', { id: person.id });
  person.away = false;
}

/** Deletes somebody's account. */
export async function dismiss(play: Play, admin: Employee, person: Employee): Promise<void> {
  await act(play, admin, 'deleteUser', { id: person.id });
  person.away = true;
}

/** A refresh token that was used comes again, from elsewhere: its session ends. */
export async function copyIsUsed(play: Play, person: Employee): Promise<void> {
  await signIn(play, person);
  const copy = person.refreshToken;
  await refresh(play, person);
  await play.stage.play('refreshToken', { refreshToken: copy }, INTRUDER);
  keep(play.stage, person, undefined);
}

/** Does what must succeed, with a token that is valid; somebody who is shut out does nothing. */
export async function act(
  play: Play,
  person: Employee,
  mutation: Mutations,
  input?: object,
  selection?: string,
): Promise<Payload> {
  await beSignedIn(play, person);
  return expected(mutation, await play.stage.play(mutation, input, person, selection));
}

/** Tries what is going to be refused. */
export async function triesTo(
  play: Play,
  person: Employee,
  mutation: Mutations,
  input: object,
): Promise<void> {
  await beSignedIn(play, person);
  await play.stage.play(mutation, input, person);
}

/** Tries a password that may not hold. */
export async function triesToSignIn({ stage }: Play, { email, request }: Employee, password: string) {
  await stage.play('login', { email, password }, { request });
}

/** Begins a session, unless shut out. */
export async function signIn({ stage, password }: Play, person: Employee): Promise<void> {
  if (person.away) return;
  const { email, request } = person;
  const answer = await stage.play('login', { email, password }, { request }, PAIR);
  keep(stage, person, expected('login', answer));
}

/** Ends the session, if there is one. */
export async function signOut(play: Play, person: Employee): Promise<void> {
  if (!person.token) return;
  await act(play, person, 'logout');
  keep(play.stage, person, undefined);
}

/** Prolongs the session, if there is one. */
export async function refresh({ stage }: Play, person: Employee): Promise<void> {
  const { refreshToken, request } = person;
  if (!refreshToken) return;
  const answer = await stage.play('refreshToken', { refreshToken }, { request }, PAIR);
  keep(stage, person, expected('refreshToken', answer));
}

function mailedToken(stage: Stage, { email }: Employee): string {
  const link = /https?:\S+/.exec(stage.mailTo(email)!.text)![0];
  return new URL(link).searchParams.get('token')!;
}

async function beSignedIn(play: Play, person: Employee): Promise<void> {
  if (!person.token) await signIn(play, person);
  else if (play.stage.now() - person.tokenAt > TOKEN_MICROS) await refresh(play, person);
}

function expected(mutation: Mutations, { payload, refused }: Ending): Payload {
  if (payload === undefined) throw new Error(`The demo data: ${mutation} was refused: ${refused}`);
  return payload;
}

function keep(stage: Stage, person: Employee, pair: Payload | undefined): void {
  person.token = pair?.accessToken;
  person.refreshToken = pair?.refreshToken;
  person.tokenAt = stage.now();
}

/** Somebody who has not been hired yet. */
export function employee(company: Company, fullName: string, role: Role, at: number): Employee {
  const request = {
    ipAddress: `${company.network}.${20 + at}`,
    userAgent: BROWSERS[at % BROWSERS.length]!,
  };
  const email = emailAt(company, fullName);
  return { fullName, role, email, request, id: '', tenantId: '', away: false, tokenAt: 0n };
}

/** A telephone number. */
export function phone({ stage }: Play): string {
  return `+49 30 ${1_000_000 + Math.floor(stage.chance() * 8_999_999)}`;
}
