// Events as sentences, and a dry run's answer as one.

import { h } from "./dom.js";
import { keyOfActor, mark, nameOf } from "./names.js";
import { because, count, endDay, list, listParts, seatsText } from "./words.js";

const CAUSES = {
  assigned: "assigned",
  enabled: "enabled",
  seat_freed: "a seat came free",
  count_increased: "more seats",
  renewed: "license renewed",
  limited_edition_ended: "limited edition ended",
  license_added: "license added",
  remapped: "module mapped to another license",
  unassigned: "module unassigned",
  key_deleted: "key deleted",
  key_revoked: "key revoked",
  key_disabled: "key disabled",
  key_expired: "key expired",
  count_decreased: "fewer seats",
  license_expired: "license expired",
  limited_edition: "limited edition",
  license_removed: "license removed",
};

/// What kinds there are, for a filter: `[kind, words]`.
export const KINDS = [
  ["key_created", "Key created"], ["key_changed", "Key changed"], ["key_regenerated", "Key regenerated"],
  ["key_disabled", "Key disabled"], ["key_enabled", "Key enabled"], ["key_expired", "Key expired"],
  ["key_revoked", "Key revoked"], ["key_deleted", "Key deleted"],
  ["module_assigned", "Module assigned"], ["module_unassigned", "Module unassigned"], ["module_mapped", "Module mapped"],
  ["reserved", "Seat reserved"], ["reservation_removed", "Seat lost"], ["reservation_failed", "Reservation failed"],
  ["license_added", "License added"], ["license_removed", "License removed"], ["license_expired", "License expired"],
  ["license_renewed", "License renewed"], ["validity_changed", "License date changed"],
  ["count_changed", "Seats changed"], ["limited_edition_changed", "Limited edition"],
];

const FIELDS = {
  name: "name", scopes: "scopes", tier: "tier", owner: "owner", expires_at: "expiry", enabled: "enabled",
  allowed_addresses: "allowed addresses", administrator: "administrator",
};
const until = (at) => (at ? `valid through ${endDay(at)}` : "no end");
const cause = (name) => CAUSES[name] ?? String(name).replaceAll("_", " ");
const key = (id) => ({ key: id });
const license = (id) => ({ license: id });
const module = (name) => ({ module: name });

const SENTENCES = {
  key_created: (e) => [key(e.holder), " was created"],
  key_changed: (e) => [key(e.holder), ` was changed: ${list((e.changed ?? []).map((name) => FIELDS[name] ?? name), 9)}`],
  key_regenerated: (e) => [key(e.holder), " was regenerated"],
  key_revoked: (e) => [key(e.holder), " was revoked for good"],
  key_expired: (e) => [key(e.holder), " expired"],
  key_deleted: (e) => [key(e.holder), " was deleted"],
  key_disabled: (e) => [key(e.holder), " was disabled"],
  key_enabled: (e) => [key(e.holder), " was enabled"],
  module_assigned: (e) => [key(e.holder), " was assigned ", module(e.module)],
  module_unassigned: (e) => [module(e.module), " was taken from ", key(e.holder)],
  module_mapped: (e) => (e.license
    ? [module(e.module), " now needs a seat of ", license(e.license)]
    : [module(e.module), " now needs no license"]),
  license_added: (e) => ["License ", license(e.license), ` was added: ${seatsText(e.seats)}, ${until(e.valid_until)}`],
  license_removed: (e) => ["License ", license(e.license), " was removed"],
  license_expired: (e) => ["License ", license(e.license), " expired"],
  license_renewed: (e) => ["License ", license(e.license), ` was renewed: ${until(e.valid_until)}`],
  validity_changed: (e) => ["License ", license(e.license), ` got another end: ${until(e.valid_until)}`],
  count_changed: (e) => ["License ", license(e.license), ` went from ${seatsText(e.from)} to ${seatsText(e.to)}`],
  limited_edition_changed: (e) => [`Limited edition was switched ${e.enabled ? "on" : "off"}`],
  reserved: (e) => [key(e.holder), " got a seat of ", license(e.license), `: ${cause(e.cause)}`],
  reservation_removed: (e) => [key(e.holder), " lost its seat of ", license(e.license), `: ${cause(e.cause)}`],
  reservation_failed: (e) => [key(e.holder), " got no seat for ", module(e.module), `: ${because(e.reason)}`],
};

/// An event as parts: texts, and `{key}`, `{license}` or `{module}` where it names one.
export function sentence(event) {
  return SENTENCES[event.event]?.(event) ?? [event.event.replaceAll("_", " ")];
}

/// A holder as people know it, apart from others of its name.
export function holderText(holder) {
  const name = nameOf(holder);
  const other = mark(holder);
  if (name) return other ? `${name} (${other})` : name;
  return holder.includes("|") ? holder.slice(holder.indexOf("|") + 1) : holder;
}

/// An actor as people know it.
export function actorText(actor) {
  const id = keyOfActor(actor);
  return id ? holderText(id) : actor === "system" ? "System" : actor;
}

/// An event as one text.
export const plain = (event) => sentence(event)
  .map((part) => (part.key ? holderText(part.key) : part.license ?? part.module ?? part)).join("");

const byLicense = (seats) => Map.groupBy ? Map.groupBy(seats, (seat) => seat.license)
  : seats.reduce((map, seat) => map.set(seat.license, [...(map.get(seat.license) ?? []), seat]), new Map());

/// The names of those who have `seats`: each once, and each for itself, whatever direction it is written in.
function names(seats, most) {
  const known = new Map(seats.map((seat) => [seat.key_id, h("bdi", null, holderText(seat.key_id))]));
  return { parts: listParts([...known.values()], most), isOne: known.size === 1 };
}

/// What an operation on the key `id` does to seats: `Frees 1 seat of launcher; B is next.`
export function planOfKey(id, plan) {
  const loses = byLicense(plan.loses);
  const gains = byLicense(plan.gains);
  const lines = [];
  for (const [name, seats] of loses) {
    const freed = seats.filter((seat) => seat.key_id === id).length;
    const others = seats.filter((seat) => seat.key_id !== id);
    const next = gains.get(name) ?? [];
    gains.delete(name);
    if (freed) {
      const { parts, isOne } = names(next);
      lines.push([`Frees ${count(freed, "seat")} of ${name}; `, next.length ? [parts, ` ${isOne ? "is" : "are"} next.`] : "nobody waits for it."]);
    }
    if (others.length) lines.push([names(others).parts, ` would lose a seat of ${name}.`]);
  }
  for (const [name, seats] of gains) {
    const { parts, isOne } = names(seats);
    lines.push([parts, ` ${isOne ? "gets" : "get"} a seat of ${name}.`]);
  }
  return lines.length ? lines : ["No seat changes hands."];
}

/// What a change of a license does: `A and C would lose their seats.`
export function planOfLicense(plan) {
  const lines = [];
  const tell = (seats, one, many) => {
    if (!seats.length) return;
    const { parts, isOne } = names(seats, 8);
    lines.push([parts, ` would ${isOne ? one : many}.`]);
  };
  tell(plan.loses, "lose its seat", "lose their seats");
  tell(plan.gains, "get a seat", "get seats");
  return lines.length ? lines : ["Nobody would lose or gain a seat."];
}
