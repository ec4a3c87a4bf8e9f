// The words and dates people read.

import { now } from "./api.js";

const DAY = 86_400_000;
const dateForm = (options) => new Intl.DateTimeFormat("en-GB", options);
const dayLocal = dateForm({ day: "numeric", month: "short", year: "numeric" });
const minuteAndZone = dateForm({ day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short" });
const dayUtc = dateForm({ day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const weekday = dateForm({ weekday: "long", day: "numeric", month: "long", year: "numeric" });
const minute = dateForm({ day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
const exact = dateForm({
  day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
  timeZoneName: "short",
});
const clock = dateForm({ hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const onDay = (at) => dayLocal.format(new Date(at));
export const onWeekday = (at) => weekday.format(new Date(at));
export const atMinute = (at) => minute.format(new Date(at));
export const exactly = (at) => exact.format(new Date(at));
export const atClock = (at) => clock.format(new Date(at));

/// `1 seat`, `2 seats`.
export const count = (number, noun, many = `${noun}s`) => `${number.toLocaleString("en")} ${number === 1 ? noun : many}`;

/// `A`, `A and B`, `A, B and C`; of a long list the first and how many more there are.
export const list = (names, most) => listParts(names, most).join("");

/// The same as parts, for names that are elements.
export function listParts(names, most = 4) {
  const shown = names.length > most ? [...names.slice(0, most - 1), `${names.length - most + 1} more`] : names;
  return shown.flatMap((name, at) => [at === 0 ? "" : at === shown.length - 1 ? " and " : ", ", name]);
}

/// How long ago, or how far ahead: `just now`, `5 min ago`, `in 3 days`; beyond `most` days the date.
export function relative(at, most = 45) {
  const span = now() - Date.parse(at);
  const size = Math.abs(span);
  const [number, unit] = size < 45_000 ? [0, ""]
    : size < 55 * 60_000 ? [Math.max(1, Math.round(size / 60_000)), "min"]
    : size < 22 * 3_600_000 ? [Math.max(1, Math.round(size / 3_600_000)), "h"]
    : [Math.max(1, Math.round(size / DAY)), "day"];
  if (!number) return span < 0 ? "in a moment" : "just now";
  if (unit === "day" && number > most) return onDay(at);
  const text = unit === "day" ? count(number, "day") : `${number} ${unit}`;
  return span < 0 ? `in ${text}` : `${text} ago`;
}

/// What is left of a span of milliseconds: `12:04`, `42 min`, `3 h`.
export function left(span) {
  const seconds = Math.max(0, Math.ceil(span / 1000));
  if (seconds < 600) return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")} min`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

/// A license's end: it is exclusive, so midnight means through the day before.
export function validThrough(until) {
  if (!until) return "Without end";
  const at = Date.parse(until);
  return at % DAY === 0 ? `Through ${dayUtc.format(new Date(at - 1))} (UTC)` : `Until ${minuteAndZone.format(at)}`;
}

/// On which day it ends or ended.
export function endDay(until) {
  const at = Date.parse(until);
  return at % DAY === 0 ? dayUtc.format(new Date(at - 1)) : onDay(at);
}

/// Whether a key works, and if not, why: `active`, `disabled`, `revoked` or `expired`.
export function keyState(key) {
  if (key.revoked_at) return "revoked";
  if (key.expires_at && Date.parse(key.expires_at) <= now()) return "expired";
  return key.enabled ? "active" : "disabled";
}

/// Whether a license gives seats: `limited`, `expired`, `soon` (within 30 days) or `valid`.
export function licenseState(license, limitedEdition) {
  if (limitedEdition) return "limited";
  if (!license.valid_until) return "valid";
  const span = Date.parse(license.valid_until) - now();
  if (span <= 0) return "expired";
  return span <= 30 * DAY ? "soon" : "valid";
}

/// `expires in 12 days`.
export function endsIn(until) {
  const days = Math.floor((Date.parse(until) - now()) / DAY);
  return days > 0 ? `Expires in ${count(days, "day")}` : `Expires ${relative(until)}`;
}

export const STATUS = {
  reserved: "Reserved",
  expired: "Expired",
  reservation_failed: "Reservation failed",
  not_required: "No license needed",
};

/// Why a module has no seat.
export function because(reason, validUntil) {
  if (reason === "valid_until") return validUntil ? `license ended on ${endDay(validUntil)}` : "license ended";
  return {
    limit_reached: "limit reached",
    unavailable: "license unavailable",
    key_disabled: "key disabled",
    limited_edition: "limited edition",
  }[reason] ?? String(reason ?? "").replaceAll("_", " ");
}

export const seatsText = (seats) => (seats === null ? "unlimited seats" : count(seats, "seat"));

/// `first`, `second` … as people say a place in line.
export function place(position) {
  const tail = position % 100 > 10 && position % 100 < 14 ? "th" : ["th", "st", "nd", "rd"][position % 10] ?? "th";
  return `${position}${tail}`;
}

const REFUSALS = {
  module_access_missing: "Module not assigned",
  license_not_reserved: "License not reserved",
  license_expired: "License expired",
  license_limit_reached: "License limit reached",
  insufficient_scope: "Scope missing",
  address_not_allowed: "Address not allowed",
  route_not_mapped: "Route not mapped",
  rate_limited: "Rate limited",
  expired_key: "Key expired",
  revoked_key: "Key revoked",
  disabled_key: "Key disabled",
  wrong_environment: "Other environment",
};

/// A refusal's code in words.
export const refusal = (code) => REFUSALS[code] ?? (code.charAt(0).toUpperCase() + code.slice(1)).replaceAll("_", " ");
