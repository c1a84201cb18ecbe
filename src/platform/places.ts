/** Where on Earth addresses are, as far as an operator's database says. */
import { type CityResponse, open } from 'maxmind';

import { settingFault } from './settings.ts';

const EARTH_RADIUS_KM = 6371;

/** In degrees. */
export interface Place {
  readonly latitude: number;
  readonly longitude: number;
}

export interface Places {
  /** Undefined for an address that the database does not know, such as a private one. */
  placeOf(address: string): Place | undefined;
}

/** Opens a city database in the MaxMind DB format; without one no address is anywhere. Rejects with a SettingsError. */
export async function openPlaces(path: string | undefined): Promise<Places> {
  if (path === undefined) return { placeOf: () => undefined };
  const reader = await open<CityResponse>(path).catch((cause: Error) => {
    throw settingFault('geoipDatabase', cause.message);
  });
  return {
    placeOf(address) {
      const { latitude, longitude } = reader.get(address)?.location ?? {};
      return latitude === undefined || longitude === undefined ? undefined : { latitude, longitude };
    },
  };
}

/** The way between two places on the surface, by the haversine formula. */
export function kilometresBetween(one: Place, other: Place): number {
  const radians = (degrees: number) => (degrees * Math.PI) / 180;
  const half = (from: number, to: number) => Math.sin(radians(to - from) / 2) ** 2;
  const along =
    Math.cos(radians(one.latitude)) *
    Math.cos(radians(other.latitude)) *
    half(one.longitude, other.longitude);
  return 2 * EARTH_RADIUS_KM * Math.asin(Math.sqrt(half(one.latitude, other.latitude) + along));
}
