// Building and updating the page. Text only ever becomes text: nothing here parses markup.

const SVG = "http://www.w3.org/2000/svg";

/// Makes an element: `h("button.primary", { onclick, "aria-label": "…" }, children…)`.
/// A prop that is null or false is left out; one that begins with `on` is a handler.
export function h(tag, props, ...children) {
  const [name, ...classes] = tag.split(".");
  return fill(document.createElement(name), classes, props, children);
}

/// The same for a drawing.
export function svg(tag, props, ...children) {
  const [name, ...classes] = tag.split(".");
  return fill(document.createElementNS(SVG, name), classes, props, children);
}

function fill(element, classes, props, children) {
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) {
      element[name] = value;
      (element.handlers ??= []).push(name);
    } else if (name === "class") {
      element.setAttribute("class", [...classes, value].filter(Boolean).join(" "));
    } else {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  append(element, children);
  return element;
}

function append(parent, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    parent.append(child);
  }
}

/// Makes `parent` show `children` and keeps what is alike: the focus, the scroll position, what
/// someone has typed and the lines that did not change stay as they are.
export function patch(parent, ...children) {
  const wanted = document.createDocumentFragment();
  append(wanted, children);
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  patchChildren(parent, wanted);
  if (focused && document.activeElement !== focused) {
    const same = focused.id ? document.getElementById(focused.id) : null;
    const target = focused.isConnected ? focused : (same ?? parent.querySelector("h1"));
    target?.focus({ preventScroll: true });
  }
}

function patchChildren(parent, wanted) {
  const keyed = new Map();
  for (const child of parent.children) if (child.dataset.key) keyed.set(child.dataset.key, child);
  let next = parent.firstChild;
  for (const child of [...wanted.childNodes]) {
    const key = child.dataset?.key;
    const found = key ? keyed.get(key) : next;
    if (!found || !alike(found, child)) {
      parent.insertBefore(child, next);
    } else {
      if (found === next) next = next.nextSibling;
      else parent.insertBefore(found, next);
      patchNode(found, child);
    }
  }
  while (next) {
    const gone = next;
    next = next.nextSibling;
    gone.remove();
  }
}

function alike(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName
    && a.dataset?.key === b.dataset?.key && (a.id ?? "") === (b.id ?? "");
}

function patchNode(node, wanted) {
  if (node.nodeType !== Node.ELEMENT_NODE) {
    if (node.data !== wanted.data) node.data = wanted.data;
    return;
  }
  const moved = wanted.dataset.sign && node.dataset.sign && wanted.dataset.sign !== node.dataset.sign;
  for (const { name } of [...node.attributes]) {
    // Whether something is unfolded is up to the person.
    if (!wanted.hasAttribute(name) && name !== "open") node.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  }
  for (const name of node.handlers ?? []) node[name] = null;
  for (const name of wanted.handlers ?? []) node[name] = wanted[name];
  node.handlers = wanted.handlers;
  // Its options move into the page one by one: which of them is chosen is known before.
  const chosen = wanted.nodeName === "SELECT" ? wanted.value : null;
  patchChildren(node, wanted);
  if (chosen !== null && node.value !== chosen) node.value = chosen;
  if (moved) node.animate?.([{ backgroundColor: "var(--flash)" }, {}], calm() ? 0 : 1600);
}

/// Whether the person asked for less motion.
export function calm() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/// Runs `task` once nothing called it for `wait` milliseconds.
export function settled(wait, task) {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => task(...args), wait);
  };
}
