/** What a cell of the authorisation matrix means, and what an answer shows of things that are not to be seen. */
import type { Kind, Principal, PrincipalName, Stage, Thing } from './matrixStage.ts';
import type { Reply } from './transports.ts';

const COLUMN: Readonly<Record<PrincipalName, number>> = {
  SUPER_ADMIN: 0,
  TENANT_ADMIN: 1,
  BRANCH_MANAGER: 2,
  AUDITOR: 3,
  MEMBER: 4,
  ANONYMOUS: 5,
  FOREIGN_ADMIN: 1,
};

/** The letter of a row for somebody. */
export function cellOf(cells: string, { name }: Principal): string {
  return cells.split(' ')[COLUMN[name]]!;
}

/** Why somebody is refused whatever it is about; undefined if they are not. */
export function refusalOf(cells: string, who: Principal): string | undefined {
  if (cellOf(cells, who) !== '-') return undefined;
  return who.person ? 'SCOPE_MISSING' : 'SIGN_IN_REQUIRED';
}

/** Why a mutation aimed at the first tenant is refused; undefined if it is done. */
export function verdictOf(cells: string, who: Principal, hidden: string | undefined): string | undefined {
  const cell = cellOf(cells, who);
  const unseen = cell === '?' || (cell === 'T' && who.name === 'FOREIGN_ADMIN');
  return refusalOf(cells, who) ?? (unseen ? hidden : undefined);
}

/** Whether a cell lets somebody see a thing. */
export function isShown(cells: string, { tenantId, near, of }: Thing, who: Principal): boolean {
  const own = tenantId === who.tenantId;
  const reaches: Record<string, boolean> = {
    A: true,
    T: own,
    B: own && near === true,
    S: of === who.person?.id,
  };
  return reaches[cellOf(cells, who)] ?? false;
}

/** The labels of the things that somebody is to see. */
export function shownTo(cells: string, { things }: Stage, kind: Kind | undefined, who: Principal): string[] {
  return (kind ? things[kind] : []).filter((thing) => isShown(cells, thing, who)).map(({ label }) => label);
}

/** An answer without what differs in each: two of these are equal if and only if they tell the same. */
export function toldBy({ data, errors }: Reply): string {
  return JSON.stringify({ data, errors }).replaceAll(/(?<="requestId":")[^"]*/g, '');
}

// oxlint-disable-next-line typescript/no-explicit-any -- an object of an answer; __typename says which
type Found = any;

/** The objects of an answer that somebody may not hold, however they were reached. The selection must name `__typename`. */
export function overreachIn(answer: unknown, stage: Stage, who: Principal): string[] {
  const found: string[] = [];
  const walk = (value: Found, path: string) => {
    if (Array.isArray(value)) return value.forEach((each, at) => walk(each, `${path}.${at}`));
    if (typeof value !== 'object' || value === null) return;
    const type = String(value.__typename);
    if (MAY_HOLD[type]?.(value, who, stage) === false) found.push(`${path}: ${type}`);
    for (const [name, each] of Object.entries(value)) walk(each, `${path}.${name}`);
  };
  walk(answer, '');
  return found;
}

type Rule = (object: Found, who: Principal, stage: Stage) => boolean;

const user: Rule = ({ id, tenantId }, who, { things }) => {
  if (id === who.person?.id || seesAll(who)) return true;
  if (tenantId !== who.tenantId || who.name === 'MEMBER') return false;
  return who.name !== 'BRANCH_MANAGER' || things.users.some((each) => each.near && each.id === id);
};
const ofTenant: Rule = ({ tenantId }, who) => seesAll(who) || tenantId === who.tenantId;
const numbers: Rule = (object, who, stage) => ofTenant(object, who, stage) && who.name !== 'MEMBER';

/** What holds of an object of a type, wherever it stands. */
const MAY_HOLD: Readonly<Record<string, Rule>> = {
  User: user,
  AuditExport: ofTenant,
  LegalHold: ofTenant,
  AuditRead: ofTenant,
  AuditRetention: ofTenant,
  Webhook: ofTenant,
  ApiKey: ofTenant,
  EventType: ofTenant,
  UserActivity: ({ userId }, who, stage) => {
    const thing = stage.things.users.find(({ id }) => id === userId);
    return user({ id: userId, tenantId: thing?.tenantId }, who, stage);
  },
  Tenant: ({ id, subscription }, who) =>
    (seesAll(who) || id === who.tenantId) && (subscription === undefined || hides(who, subscription)),
  Settings: (settings, who, stage) =>
    ofTenant(settings, who, stage) && hides(who, settings.security) && hides(who, settings.sessions),
  Branch: ({ id, tenantId }, who, { near }) => {
    if (seesAll(who)) return true;
    const confined = who.name === 'MEMBER' || who.name === 'BRANCH_MANAGER';
    return tenantId === who.tenantId && (!confined || id === near);
  },
  AuditLog: ({ tenantId, userId, resourceId }, who, { near, things }) => {
    if (seesAll(who)) return true;
    if (tenantId !== who.tenantId) return false;
    const about = [userId, resourceId];
    if (about.includes(who.person!.id)) return true;
    if (who.name === 'MEMBER') return false;
    const reach = [near, ...things.users.filter((each) => each.near).map(({ id }) => id)];
    return who.name !== 'BRANCH_MANAGER' || about.some((id) => reach.includes(id as string));
  },
  TenantActivity: numbers,
  AuditStatistics: numbers,
};

function seesAll({ name }: Principal): boolean {
  return name === 'SUPER_ADMIN';
}

/** Members see the public part of a tenant, everybody else the rest, too. */
function hides({ name }: Principal, part: unknown): boolean {
  return (part === null) === (name === 'MEMBER');
}

/** Works on all items, so many at a time; in the order of the items. */
export async function inTurns<Item, Result>(
  width: number,
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  const entries = items.entries();
  const worker = async () => {
    for (const [at, item] of entries) results[at] = await work(item);
  };
  await Promise.all(Array.from({ length: width }, worker));
  return results;
}
