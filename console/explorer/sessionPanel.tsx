import { Button, type GraphiQLPlugin } from '@graphiql/react';
import { useId, type ComponentProps, type FormEvent } from 'react';
import { PersonIcon } from './icons.tsx';
import { useObserved } from './observed.ts';
import type { Refusal } from './request.ts';
import type { Session } from './session.ts';

/** The panel where one signs in and out. */
export function sessionPlugin(session: Session): GraphiQLPlugin {
  return {
    title: 'Session',
    icon: () => <Icon session={session} />,
    content: () => <SessionPanel session={session} />,
  };
}

function SessionPanel({ session }: { session: Session }) {
  const { person, busy, refusal } = useObserved(session.state);
  return (
    <section className="custos-panel" aria-label="Session">
      <h2>Session</h2>
      {person ? (
        <>
          <dl className="custos-person" data-testid="session-person">
            <dt>Signed in as</dt>
            <dd>{person.fullName}</dd>
            <dt>E-mail</dt>
            <dd data-testid="session-person-email">{person.email}</dd>
            <dt>Role</dt>
            <dd>
              <code>{person.role}</code>
            </dd>
          </dl>
          <p>
            Operations and subscriptions are sent in this name, unless they bring an authorization header.
          </p>
          <Button disabled={busy} onClick={() => void session.signOut()} data-testid="session-sign-out">
            Sign out
          </Button>
          <details>
            <summary>Sign in as somebody else</summary>
            <SignInForm session={session} busy={busy} />
          </details>
        </>
      ) : (
        <>
          <p>Sign in to query the audit log and to follow it live.</p>
          <SignInForm session={session} busy={busy} />
        </>
      )}
      {refusal && <RefusalNote refusal={refusal} />}
    </section>
  );
}

function SignInForm({ session, busy }: { session: Session; busy: boolean }) {
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = event.currentTarget;
    const fields = new FormData(form);
    const value = (name: string) => {
      const field = fields.get(name);
      return typeof field === 'string' ? field : '';
    };
    const credentials = {
      email: value('email'),
      password: value('password'),
      tenant: value('tenant').trim(),
    };
    if (await session.signIn(credentials)) form.reset();
  };
  return (
    <form className="custos-form" onSubmit={(event) => void submit(event)} aria-label="Sign in">
      {/* Not type="email": what is no e-mail address has to reach the server too, which records the attempt. */}
      <Field label="E-mail" name="email" inputMode="email" autoComplete="username" required />
      <Field label="Password" name="password" type="password" autoComplete="current-password" required />
      <Field
        label="Tenant subdomain"
        name="tenant"
        autoComplete="organization"
        hint="Only if several tenants know the e-mail."
      />
      <Button type="submit" className="custos-primary" disabled={busy} data-testid="session-sign-in">
        Sign in
      </Button>
    </form>
  );
}

function Field({
  label,
  hint,
  ...input
}: ComponentProps<'input'> & { label: string; name: string; hint?: string }) {
  const id = useId();
  return (
    <div className="custos-field">
      <label htmlFor={id}>{label}</label>
      <input
        {...input}
        id={id}
        spellCheck={false}
        autoCapitalize="none"
        aria-describedby={hint && `${id}-hint`}
        data-testid={`session-${input.name}`}
      />
      {hint && <small id={`${id}-hint`}>{hint}</small>}
    </div>
  );
}

function RefusalNote({ refusal }: { refusal: Refusal }) {
  return (
    <div className="custos-refusal" role="alert" data-testid="session-refusal">
      <p>{refusal.message}</p>
      {refusal.code && (
        <code>
          {refusal.code}
          {refusal.reason && ` / ${refusal.reason}`}
        </code>
      )}
      {refusal.requestId && <small>Request {refusal.requestId}</small>}
    </div>
  );
}

function Icon({ session }: { session: Session }) {
  const { person } = useObserved(session.state);
  return (
    <>
      <PersonIcon />
      {person && <span className="custos-dot" />}
    </>
  );
}
