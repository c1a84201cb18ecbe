import { GraphQLError, GraphQLScalarType, Kind, print, type ValueNode } from 'graphql';
import { GraphQLBigInt, GraphQLJSON } from 'graphql-scalars';
import ipaddr from 'ipaddr.js';

import { isoOf, microsFrom } from '../platform/ids.ts';

/** Not graphql-scalars' own: it cuts a moment to milliseconds, both ways. */
const DateTime = new GraphQLScalarType<string, string>({
  name: 'DateTime',
  parseValue: (value) => moment(value),
  parseLiteral: (node) => moment(node.kind === Kind.STRING ? node.value : undefined),
  serialize: (value) => value as string,
});

function moment(value: unknown): string {
  try {
    return isoOf(microsFrom(value as string));
  } catch (cause) {
    throw new GraphQLError(
      `DateTime takes RFC 3339 such as 2026-01-02T03:04:05.123456Z, got ${shown(value)}`,
      {
        originalError: cause as Error,
      },
    );
  }
}

/** Not graphql-scalars' own: it takes ranges and leading zeros, and leaves an IPv4-mapped address as it is. */
const IP = new GraphQLScalarType<string, string>({
  name: 'IP',
  parseValue: (value) => address(value),
  parseLiteral: (node) => address(node.kind === Kind.STRING ? node.value : undefined),
  serialize: (value) => value as string,
});

function address(value: unknown): string {
  const valid =
    typeof value === 'string' && (ipaddr.IPv4.isValidFourPartDecimal(value) || ipaddr.IPv6.isValid(value));
  // ipaddr.js takes the long obsolete ::1.2.3.4 for an IPv4-mapped address, which it is not.
  if (!valid || value.includes('%') || /^::\d+\./.test(value))
    throw new GraphQLError(`IP takes one IPv4 or IPv6 address, got ${shown(value)}`);
  return ipaddr.process(value).toString();
}

/** graphql-scalars' own warns on the console when it is given one, and takes `true` for 1. */
const BigIntInput = {
  parseValue: (value: unknown) => wholeNumber(value),
  parseLiteral: (node: ValueNode) =>
    wholeNumber(node.kind === Kind.INT || node.kind === Kind.STRING ? node.value : print(node)),
};

function wholeNumber(value: unknown): bigint {
  if (typeof value === 'string' ? /^-?\d{1,30}$/.test(value) : Number.isSafeInteger(value))
    return BigInt(value as string | number);
  throw new GraphQLError(`BigInt takes a whole number, beyond 2^53 in a string, got ${shown(value)}`);
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? 'nothing').slice(0, 80);
}

/** What a scalar does. What it is, the SDL describes; a description here would hide that one. */
function undescribed(scalar: GraphQLScalarType, instead: object = {}): GraphQLScalarType {
  const facts = Object.entries(scalar).filter(([name]) => name !== 'description');
  return { ...Object.fromEntries(facts), ...instead } as unknown as GraphQLScalarType;
}

/** The scalars of schema/base.graphql. */
export const scalars = {
  DateTime: undescribed(DateTime),
  IP: undescribed(IP),
  JSON: undescribed(GraphQLJSON),
  BigInt: undescribed(GraphQLBigInt, BigIntInput),
};
