// Who holds the seats of a license and who waits for one, however many they are.

import { get, part, query } from "./api.js";
import { learn } from "./names.js";

/// The service tells at most so many at once.
const MOST_AT_ONCE = 500;

/// The first `wanted` of those who hold a seat and of those who wait, and whether there are `more`;
/// with `since` only those whose seats nobody has used from then on.
export async function reservations(license, wanted, { since = null, signal } = {}) {
  // Seats may change hands between two pages: nobody stands in a list twice.
  const [reserved, waiting] = [new Map(), new Map()];
  const found = () => (since ? reserved.size : Math.max(reserved.size, waiting.size));
  let cursor = null;
  do {
    const limit = Math.min(MOST_AT_ONCE, wanted - found());
    const page = await get(`licenses/${part(license)}/reservations${query({ limit, cursor, unused_since: since })}`, signal);
    learn(page.reserved);
    learn(page.waiting);
    for (const entry of page.reserved) reserved.set(entry.key_id, entry);
    for (const entry of page.waiting) waiting.set(entry.key_id, entry);
    cursor = page.next_cursor ?? null;
  } while (cursor && found() < wanted);
  return { reserved: [...reserved.values()], waiting: [...waiting.values()], more: cursor !== null };
}

/// In which place of the line for a license a key waits, if it does.
export async function placeOf(license, key, signal) {
  const { waiting } = await get(`licenses/${part(license)}/reservations${query({ key_id: key })}`, signal);
  return waiting[0]?.position;
}
