// The drawings: strokes in a square of 16.

import { svg } from "./dom.js";

const PATHS = {
  plus: "M8 3v10M3 8h10",
  search: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10ZM10.6 10.6 14 14",
  key: "M5.2 13.8A3 3 0 1 0 5.2 7.8a3 3 0 0 0 0 6ZM7.4 8.6 13.8 2.2M10.6 5.4l2.2 2.2",
  card: "M2 4h12v8H2ZM2 7h12M4.5 10h2.5",
  pulse: "M1.5 8.5H4L6 3l3.5 10.5L11.6 8h2.9",
  copy: "M6 6h7.5v7.5H6ZM10 6V2.5H2.5V10H6",
  check: "M3 8.6 6.4 12 13 4.5",
  clock: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM8 4.8V8l2.2 1.5",
  ban: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM3.8 3.8l8.4 8.4",
  cross: "M4 4l8 8M12 4l-8 8",
  alert: "M8 2.2 14.5 13.5H1.5ZM8 6.5v3.2M8 11.6v.1",
  info: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM8 7.3V11M8 5v.1",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  edit: "M2.5 13.5 3 10.8 10.8 3l2.2 2.2L5.2 13ZM9.3 4.5l2.2 2.2",
  refresh: "M13.5 8A5.5 5.5 0 1 1 11.7 4M13.5 2v3h-3",
  trash: "M2.5 4.5h11M6 4.5v-2h4v2M4 4.5l.7 9h6.6l.7-9M6.7 7v4M9.3 7v4",
  sun: "M8 11A3 3 0 1 0 8 5a3 3 0 0 0 0 6ZM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1.1 1.1M11.9 11.9 13 13M3 13l1.1-1.1M11.9 4.1 13 3",
  moon: "M13.5 9.6A6 6 0 0 1 6.4 2.5a6 6 0 1 0 7.1 7.1Z",
  screen: "M1.5 3h13v8.5h-13ZM5.5 14h5",
  leave: "M6.5 2.5h-4v11h4M10 5l3 3-3 3M13 8H6",
  download: "M8 2v8.5M4.8 7.4 8 10.5l3.2-3.1M2.5 13.5h11",
  user: "M8 8A2.8 2.8 0 1 0 8 2.4 2.8 2.8 0 0 0 8 8ZM2.5 14c.5-3 2.7-4.2 5.5-4.2s5 1.2 5.5 4.2",
  link: "M6.5 9.5l3-3M7.5 4.6 9.3 2.8a2.8 2.8 0 0 1 4 4l-1.8 1.7M8.5 11.4l-1.8 1.8a2.8 2.8 0 0 1-4-4l1.8-1.7",
  unplug: "M7.5 4.6 9.3 2.8a2.8 2.8 0 0 1 4 4l-1.8 1.7M8.5 11.4l-1.8 1.8a2.8 2.8 0 0 1-4-4l1.8-1.7M3 3l10 10",
  shield: "M8 1.8 13.5 4v4c0 3-2.2 5.2-5.5 6.4C4.7 13.2 2.5 11 2.5 8V4Z",
  right: "M6 3.5 10.5 8 6 12.5",
};

/// A drawing beside a text that says the same: hidden from a screen reader.
export function icon(name, className = "") {
  const path = svg("path", { d: PATHS[name] });
  return svg("svg.icon", { class: className, viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" }, path);
}
