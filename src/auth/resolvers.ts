import type { Context, Deeds } from '../audit/act.ts';
import type { QueryResolvers } from '../generated/types.ts';
import { Refusal } from '../platform/refusal.ts';
import { userById } from '../users/tables.ts';
import { changePassword, forgotPassword, resetPassword } from './password.ts';
import { register } from './registration.ts';
import { login, logout, refreshToken } from './signIn.ts';

export const deeds = {
  login,
  logout,
  refreshToken,
  register,
  forgotPassword,
  resetPassword,
  changePassword,
} satisfies Partial<Deeds>;

export const queries = {
  me: async (_root: unknown, _args: unknown, context: Context) => {
    if (context.actor.type !== 'USER') throw new Refusal('SIGN_IN_REQUIRED');
    return (await context.load(userById, context.actor.id))!;
  },
} satisfies Partial<QueryResolvers>;
