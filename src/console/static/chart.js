// A bar chart of requests, with the same as a table.

import { h, svg } from "./dom.js";
import { table } from "./ui.js";

const HOUR = 3_600_000;
const HEIGHT = 100;
/// What stands on what, from the ground.
const PARTS = [["granted", "Granted"], ["refused", "Refused"], ["limited", "Rate limited"]];

const form = (options) => new Intl.DateTimeFormat("en-GB", options);
const hourForm = form({ hour: "2-digit", minute: "2-digit" });
const dayForm = form({ day: "numeric", month: "short" });
const bothForm = form({ weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/// Where buckets of `size` hours begin, and where the last one ends. Hours follow each other; longer
/// ones begin where people's days do, which have 23 or 25 hours where the clocks change.
function edges(hours, size, now) {
  const moment = new Date(now);
  if (size === 1) {
    const end = now - (moment.getMinutes() * 60_000 + moment.getSeconds() * 1000 + moment.getMilliseconds()) + HOUR;
    return Array.from({ length: hours + 1 }, (_, at) => end - (hours - at) * HOUR);
  }
  const [year, month, day] = [moment.getFullYear(), moment.getMonth(), moment.getDate()];
  const last = (Math.floor(moment.getHours() / size) + 1) * size;
  return Array.from({ length: hours / size + 1 }, (_, at) => new Date(year, month, day, last - hours + at * size).getTime());
}

/// The hours of `items` in buckets of `size` hours, up to the one that is now; hours nobody counted
/// are none.
export function buckets(items, hours, size, now) {
  const ends = edges(hours, size, now);
  const made = ends.slice(1).map((end, at) => ({ at: ends[at], end, granted: 0, refused: 0, limited: 0 }));
  for (const item of items) {
    const hour = Date.parse(item.hour);
    const bucket = made.find(({ at, end }) => at <= hour && hour < end);
    if (!bucket) continue;
    bucket.granted += item.granted;
    bucket.limited += item.limited;
    bucket.refused += sum(Object.values(item.refused));
  }
  return made;
}

/// The next number that reads well as the top of a scale.
function top(most) {
  const size = 10 ** Math.floor(Math.log10(Math.max(most, 1)));
  return [1, 2, 2.5, 4, 5, 8, 10].map((step) => step * size).find((step) => step >= most && Number.isInteger(step)) ?? 10 * size;
}

const named = (bucket, size) => {
  const from = bothForm.format(bucket.at);
  return size === 24 ? dayForm.format(bucket.at) : `${from} to ${hourForm.format(bucket.end)}`;
};

/// Draws `made`, buckets of `size` hours.
export function chart(made, size) {
  const height = top(Math.max(...made.map((bucket) => bucket.granted + bucket.refused + bucket.limited)));
  const width = made.length * 10;
  const bars = made.map((bucket, at) => {
    let ground = HEIGHT;
    const pieces = PARTS.map(([name]) => {
      const tall = (bucket[name] / height) * HEIGHT;
      ground -= tall;
      return tall > 0 && svg(`rect.${name}`, { x: at * 10 + 1.4, width: 7.2, y: ground, height: tall });
    });
    const words = PARTS.filter(([name]) => bucket[name]).map(([name, text]) => `${text}: ${bucket[name].toLocaleString("en")}`);
    return svg("g", null, svg("title", null, `${named(bucket, size)}\n${words.join("\n") || "No requests"}`),
      svg("rect.reach", { x: at * 10, width: 10, y: 0, height: HEIGHT }), pieces);
  });
  const lines = [0.5, 1].map((share) => svg("line.rule", { x1: 0, x2: width, y1: HEIGHT * (1 - share) + 0.2, y2: HEIGHT * (1 - share) + 0.2 }));
  const label = size === 1 ? (at) => hourForm.format(at) : (at) => dayForm.format(at);
  const marks = [0, Math.floor(made.length / 2), made.length - 1].map((at) => label(made[at].at));
  const total = PARTS.map(([name, text]) => `${text.toLowerCase()} ${sum(made.map((bucket) => bucket[name])).toLocaleString("en")}`);
  return h("figure.chart", { "data-test": "usage-chart" },
    h("div.chart-body", null,
      h("div.chart-scale", { "aria-hidden": "true" }, [height, height / 2, 0].map((value) => h("span", null, Number.isInteger(value) ? value.toLocaleString("en") : ""))),
      h("div.chart-area", null,
        svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `Requests: ${total.join(", ")}. The table below has the numbers.` },
          lines, bars, svg("line.ground", { x1: 0, x2: width, y1: HEIGHT, y2: HEIGHT })),
        h("div.chart-marks", { "aria-hidden": "true" }, marks.map((mark) => h("span", null, mark))))),
    h("figcaption", null,
      h("ul.legend", null, PARTS.map(([name, text]) => h("li", null, h("span.swatch", { class: name }), text, " ",
        h("b", null, sum(made.map((bucket) => bucket[name])).toLocaleString("en"))))),
      h("details.numbers", null, h("summary", null, "Show as a table"),
        table("Requests", [["From"], ["Granted", "number"], ["Refused", "number"], ["Rate limited", "number"]],
          made.filter((bucket) => PARTS.some(([name]) => bucket[name])).reverse().map((bucket) => ({
            key: String(bucket.at),
            cells: [named(bucket, size), ...PARTS.map(([name]) => bucket[name].toLocaleString("en"))],
          })), { class: "rows compact" }))));
}
