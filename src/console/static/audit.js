// Reading the log backwards, and writing it as CSV.

import { get, query } from "./api.js";
import { keyOfActor, keysOf, lookUp, nameOf } from "./names.js";
import { plain } from "./sentences.js";

/// A page of the log holds at most this many entries.
const MOST = 500;

/// The newest entries first, in pages: the service tells them from the oldest. The numbers of the
/// log have no gaps, so a stretch of it is a span of numbers.
export class Backwards {
  /// `filter` is `{actor, key, event, from, to}`; the last two are instants.
  constructor(filter) {
    this.filter = filter;
    this.items = [];
    this.over = false;
    this.stretch = MOST;
    this.next = null;
    this.latest = 0;
  }

  async read(after, limit, signal, filtered = true) {
    const { actor, key, event } = filtered ? this.filter : {};
    return get(`audit${query({ after, limit, actor, key, event })}`, signal);
  }

  /// The number after the last entry before the instant `to`: time never goes back in the log.
  async numberAt(to, latest, signal) {
    let low = 0;
    let high = latest;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const { items } = await this.read(middle, 1, signal, false);
      if (items.length && Date.parse(items[0].at) < to) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /// Reads on until there are `wanted` entries, or none are left.
  async upTo(wanted, signal) {
    if (this.next === null) {
      const { latest } = await this.read(0, 1, signal, false);
      this.latest = latest;
      this.next = this.filter.to ? await this.numberAt(this.filter.to, latest, signal) : latest;
    }
    while (!this.over && this.items.length < wanted) {
      const after = Math.max(0, this.next - this.stretch);
      const found = await this.between(after, this.next, signal);
      // Where little matches, the next stretch is longer.
      this.stretch = found.length < MOST / 10 ? this.stretch * 4 : MOST;
      const { from } = this.filter;
      for (const entry of found.reverse()) {
        if (from && Date.parse(entry.at) < from) this.over = true;
        else this.items.push(entry);
      }
      this.next = after;
      if (after === 0) this.over = true;
      else if (from && !this.over) this.over = await this.isBefore(after, from, signal);
    }
    await lookUp(this.items.slice(0, wanted).flatMap(keysOf));
    return this.items;
  }

  /// Whether the entry at `number` is from before `from`.
  async isBefore(number, from, signal) {
    const { items } = await this.read(number - 1, 1, signal, false);
    return items.length > 0 && Date.parse(items[0].at) < from;
  }

  async between(after, last, signal) {
    const found = [];
    for (let at = after; at !== null && at < last;) {
      const { items, next_after: next } = await this.read(at, MOST, signal);
      found.push(...items.filter((entry) => entry.seq <= last));
      // With a filter a page can be empty where there is more: only `next_after` tells the end.
      at = next;
    }
    return found;
  }

  /// Puts on top what has happened since.
  async refresh(signal) {
    const { from, to } = this.filter;
    while (this.next !== null) {
      const { items, next_after: next, latest } = await this.read(this.latest, MOST, signal);
      const within = ({ at }) => (!from || Date.parse(at) >= from) && (!to || Date.parse(at) < to);
      this.items.unshift(...items.filter(within).reverse());
      this.latest = next ?? Math.max(latest, items.at(-1)?.seq ?? 0);
      if (next === null) return;
    }
  }
}

const COLUMNS = ["seq", "at", "event", "actor", "actor_name", "key_id", "key_name", "module", "license", "sentence"];

/// A cell of RFC 4180. A text that a spreadsheet would take for a formula is made a text of.
export function csvCell(value) {
  let text = value === null || value === undefined ? "" : String(value);
  if (/^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/// Entries as CSV.
export function csv(items) {
  const rows = items.map((entry) => [
    entry.seq, entry.at, entry.event, entry.actor, nameOf(keyOfActor(entry.actor) ?? ""), entry.holder, nameOf(entry.holder ?? ""),
    entry.module, entry.license, plain(entry),
  ]);
  return [COLUMNS, ...rows].map((row) => `${row.map(csvCell).join(",")}\r\n`).join("");
}

/// Gives the browser a file to keep.
export function download(name, text) {
  // With its mark of UTF-8 a spreadsheet reads names rightly.
  const url = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv;charset=utf-8" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
