// The names of keys that lists and events only give the ids of.

import { get, part } from "./api.js";

const AT_ONCE = 6;
const known = new Map();

/// Notes the names of keys that came with an answer.
export function learn(keys) {
  for (const { id, key_id: keyId, name } of keys) if (name) known.set(id ?? keyId, name);
}

/// The name of a holder, or null where it has none or was never seen.
export const nameOf = (holder) => known.get(holder) ?? null;

/// The key id of an actor such as `key:ID`, or null.
export const keyOfActor = (actor) => (actor?.startsWith("key:") ? actor.slice(4) : null);

/// Whether a holder is a user (`issuer|subject`) and not a key.
export const isUser = (holder) => holder.includes("|");

/// Looks up the names of those of `holders` that are not known yet.
export async function lookUp(holders) {
  const missing = [...new Set(holders)].filter((id) => id && !isUser(id) && !known.has(id));
  const next = missing.values();
  const worker = async () => {
    for (const id of next) {
      try {
        learn([await get(`keys/${part(id)}`)]);
      } catch (error) {
        // A key that is gone has no name any more: its id is what the log has.
        if (error.status === 404) known.set(id, null);
        else if (error.status === 401) throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/// The keys that an event names.
export const keysOf = (event) => [event.holder, keyOfActor(event.actor)].filter(Boolean);

/// Forgets a name that an event says may have changed. One that was deleted stays for the log.
export function forget(event) {
  if (event.event === "key_changed" || event.event === "key_created") known.delete(event.holder);
}

/// Forgets all: somebody else signs in, or the service has other data now.
export const forgetAll = () => known.clear();
