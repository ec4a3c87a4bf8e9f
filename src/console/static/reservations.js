// Who holds the seats of a license and who waits for one, however many they are.

import { call, get, part, query } from "./api.js";
import { learn, lookUp } from "./names.js";

/// The service tells at most so many at once.
const MOST_AT_ONCE = 500;
const MOST_NAMED = 8;

/// The first `wanted` of those who hold a seat and of those who wait, and of which there are `more`; with
/// `since`, of those who hold only the ones whose seats nobody has used from then on.
export async function reservations(license, wanted, { since = null, signal } = {}) {
  // Seats may change hands between two pages: nobody stands in a list twice.
  const [reserved, waiting] = [new Map(), new Map()];
  let cursor = null;
  for (let left = wanted; ;) {
    const limit = Math.min(MOST_AT_ONCE, left);
    const page = await get(`licenses/${part(license)}/reservations${query({ limit, cursor, unused_since: since })}`, signal);
    learn(page.reserved);
    learn(page.waiting);
    for (const entry of page.reserved) reserved.set(entry.key_id, entry);
    for (const entry of page.waiting) waiting.set(entry.key_id, entry);
    left -= limit;
    cursor = page.next_cursor;
    if (cursor && left > 0) continue;
    // What did not fill its part of the page is at its end, also where the other goes on.
    const goesOn = (list) => cursor !== null && list.length === limit;
    return {
      reserved: [...reserved.values()], waiting: [...waiting.values()],
      more: { reserved: goesOn(page.reserved), waiting: goesOn(page.waiting) },
    };
  }
}

/// In which place of the line for a license a key waits, if it does.
export async function placeOf(license, key, signal) {
  const { waiting } = await get(`licenses/${part(license)}/reservations${query({ key_id: key })}`, signal);
  return waiting[0]?.position;
}

/// Who would lose a seat and who would get one; `path` is that of a plan. Changes nothing.
export async function dryRun(path, body) {
  const { data } = await call("POST", path, { body });
  for (const seats of [data.loses, data.gains]) {
    learn(seats);
    // No sentence names more of them.
    await lookUp(seats.slice(0, MOST_NAMED).map((seat) => seat.key_id));
  }
  return data;
}
