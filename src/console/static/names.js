// The names of keys that lists and events only give the ids of.

import { get, part } from "./api.js";

const AT_ONCE = 6;
/// Of each id its name, or null; of each name its ids; of each id the key's hint.
const known = new Map();
const called = new Map();
const hints = new Map();

function name(id, text) {
  called.get(known.get(id))?.delete(id);
  known.set(id, text);
  if (text) called.set(text, (called.get(text) ?? new Set()).add(id));
}

/// Notes the names of keys that came with an answer.
export function learn(keys) {
  for (const { id, key_id: keyId, name: text, hint } of keys) {
    if (!text) continue;
    name(id ?? keyId, text);
    if (hint) hints.set(id ?? keyId, hint);
  }
}

/// The name of a holder, or null where it has none or was never seen.
export const nameOf = (holder) => known.get(holder) ?? null;

const end = (holder) => `…${holder.slice(-6)}`;
const isShared = (holder) => called.get(nameOf(holder))?.size > 1;

/// What tells a holder from others of its name, if there are any: the key's hint, or the end of its id.
export const mark = (holder) => (isShared(holder) ? hints.get(holder) ?? end(holder) : null);

/// The key id of an actor such as `key:ID`, or null.
export const keyOfActor = (actor) => (actor?.startsWith("key:") ? actor.slice(4) : null);

/// Whether a holder is a user (`issuer|subject`) and not a key.
export const isUser = (holder) => holder.includes("|");

/// Looks up the names of those of `holders` that are not known yet, and what tells those apart that have one name.
export async function lookUp(holders) {
  const isMissing = (id) => id && !isUser(id) && (!known.has(id) || (isShared(id) && !hints.has(id)));
  const next = [...new Set(holders)].filter(isMissing).values();
  const worker = async () => {
    for (const id of next) {
      try {
        learn([await get(`keys/${part(id)}`)]);
      } catch (error) {
        // A key that is gone has no name any more: its id is what the log has.
        if (error.status === 404) {
          known.set(id, nameOf(id));
          hints.set(id, end(id));
        }
        if (error.status === 401) throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/// The keys that an event names.
export const keysOf = (event) => [event.holder, keyOfActor(event.actor)].filter(Boolean);

/// Forgets a name that an event says may have changed. One that was deleted stays for the log.
export function forget(event) {
  if (!["key_changed", "key_created", "key_regenerated"].includes(event.event)) return;
  hints.delete(event.holder);
  if (event.event === "key_regenerated") return;
  called.get(known.get(event.holder))?.delete(event.holder);
  known.delete(event.holder);
}

/// Forgets all: somebody else signs in, or the service has other data now.
export function forgetAll() {
  for (const map of [known, called, hints]) map.clear();
}
