// What a script can tell of how readable a page is: a list of faults.
(() => {
  const faults = [];
  const tell = (what, element) => faults.push(`${what}: ${element.outerHTML.slice(0, 160)}`);
  const whole = $("dialog[open]") ?? document.body;
  const inside = [...whole.querySelectorAll("*")].filter(shown);
  const room = document.documentElement.clientWidth;
  const wide = Math.max(document.scrollingElement.scrollWidth, whole.getBoundingClientRect().right);
  if (wide > room) {
    faults.push(`it is ${wide} px wide, of ${room}`);
    for (const element of inside) if (element.getBoundingClientRect().right > room + 1) tell("too far right", element);
  }
  const ids = $$("[id]").map(({ id }) => id);
  for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) faults.push(`two elements of id ${id}`);
  for (const name of ["aria-labelledby", "aria-describedby", "for"]) {
    for (const element of $$(`[${name}]`)) {
      for (const id of element.getAttribute(name).split(" ")) if (!document.getElementById(id)) tell(`${name} leads nowhere`, element);
    }
  }
  for (const group of inside.filter((element) => element.matches("fieldset, [role=group]"))) {
    if (!text(group.querySelector("legend")) && !group.getAttribute("aria-label")) tell("a group without a name", group);
  }
  // A visually hidden element stands for one that is seen.
  const seen = (element) => { const { width, height } = element.getBoundingClientRect(); return width > 2 && height > 2; };
  for (const element of inside.filter((element) => element.matches("button, input, select, textarea, summary") && seen(element))) {
    const { width, height } = (element.closest("label") ?? element).getBoundingClientRect();
    if (width < 24 || height < 24) tell(`a target of ${width} by ${height}`, element);
    if (element.matches("button") && element.scrollWidth > element.clientWidth + 1) tell("its words are cut off", element);
  }

  const brush = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    brush.clearRect(0, 0, 1, 1);
    brush.fillStyle = colour;
    brush.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = brush.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, ground) => [0, 1, 2].map((at) => top[at] * top[3] + ground[at] * (1 - top[3])).concat(1);
  const ground = (element) => {
    if (!element) return rgba("white");
    const own = rgba(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own : over(own, ground(element.parentElement));
  };
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((part) => { const share = part / 255; return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const words = (element) => [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  for (const element of inside.filter((element) => words(element) && seen(element) && !element.closest("svg, :disabled, option"))) {
    const look = getComputedStyle(element);
    if (look.clipPath !== "none" || parseFloat(look.fontSize) === 0) continue;
    const behind = ground(element);
    const [a, b] = [light(over(rgba(look.color), behind)), light(behind)].sort((a, b) => b - a);
    const contrast = (a + 0.05) / (b + 0.05);
    const least = parseFloat(look.fontSize) >= 24 || (parseFloat(look.fontSize) >= 18.6 && look.fontWeight >= 700) ? 3 : 4.5;
    if (contrast < least) tell(`a contrast of ${contrast.toFixed(2)}`, element);
    if (parseFloat(look.fontSize) < 11) tell(`letters of ${look.fontSize}`, element);
  }
  return [...new Set(faults)];
})()
