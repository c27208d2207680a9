// Reads the data of the page, connects the controls, and draws everything once.

const element = (id) => document.getElementById(id);

function showFault(text) {
  element("fault").hidden = false;
  element("fault").textContent = text;
}
window.addEventListener("error", (event) => showFault(`The page could not be drawn: ${event.message}.`));
window.addEventListener("unhandledrejection", (event) => showFault(`The page could not be drawn: ${event.reason}.`));

function readNumbers(input, accept) {
  // The numbers of a text field, or null, and a mark on the field, where they are not what is asked for.
  const words = input.value.replaceAll("−", "-").split(/[\s,;]+/).filter(Boolean), numbers = words.map(Number);
  const good = numbers.length > 0 && numbers.every(Number.isFinite) && accept(numbers);
  input.classList.toggle("wrong", !good);
  return good ? numbers : null;
}

function largestLevel(field) {
  return Math.max(Math.abs(field.page[0]), Math.abs(field.page[1]));
}

function levelOfSlider(field, share) {
  return largestLevel(field) * 10 ** (4 * (share - 1)); // four decades
}

function setLevels(view, levels) {
  const field = view.fields[view.solidField], most = largestLevel(field);
  view.levels = levels;
  element("levels").value = levels.map((level) => +level.toPrecision(4)).join(", ");
  element("level").value = most > 0 ? 1000 * (1 + Math.log10(Math.abs(levels[0]) / most) / 4) : 0;
}

function noteLevels(view) {
  const field = view.fields[view.solidField], [low, high] = field.page;
  const reach = (level) => (level > low && level < high) || (field.signed && -level > low && -level < high);
  const beyond = view.levels.filter((level) => !reach(level)).map(format);
  element("solid-note").textContent = beyond.length
    ? `No isosurface at ${beyond.join(", ")}: the values lie between ${format(low)} and ${format(high)} e/Å³.`
    : field.signed ? "Yellow and red: positive. Blue: negative, at minus the same isovalue." : "Several isovalues are separated by commas.";
}

function chooseSolidField(view, index) {
  view.solidField = index;
  const field = view.fields[index], level = quantileOfSize(field.values, field.signed ? 0.97 : 0.92);
  setLevels(view, [level || largestLevel(field) / 10 || 1]);
}

function choosePlane(view, axis, place) {
  view.planeAxis = axis;
  const count = view.shape[axis], slider = element("plane-index");
  slider.max = count - 1;
  slider.value = wrap(Math.round(place * count), count);
  movePlane(view);
}

function movePlane(view) {
  view.planeIndex = Number(element("plane-index").value);
  view.planePlace = view.planeIndex / view.shape[view.planeAxis];
  element("plane-place").textContent = `${"abc"[view.planeAxis]} = ${view.planePlace.toFixed(4)}`;
}

function fillAtomChoices(view) {
  for (const id of ["from-atom", "to-atom"]) {
    const select = element(id);
    select.append(new Option("point", ""));
    view.atoms.forEach((atom, k) => select.append(new Option(atom.label, k)));
  }
}

function nearestImage(view, from, to) {
  // The image of a position that is nearest to another, and not the position itself.
  let best = null, least = Infinity;
  for (let n = 0; n < 125; n++) {
    const shift = [(n % 5) - 2, (Math.floor(n / 5) % 5) - 2, Math.floor(n / 25) - 2];
    const image = to.map((x, axis) => x - Math.round(x - from[axis]) + shift[axis]);
    const far = length(toCartesian(minus(image, from), view.lattice));
    if (far > 1e-3 && far < least) [best, least] = [image, far];
  }
  return { image: best, distance: least };
}

const showPoint = (point) => point.map((x) => +x.toFixed(4)).join(", ");

function chooseLine(view, one, two) {
  view.from = view.atoms[one].position;
  view.to = nearestImage(view, view.from, view.atoms[two].position).image;
  element("from").value = showPoint(view.from);
  element("to").value = showPoint(view.to);
  element("from-atom").value = one;
  element("to-atom").value = two;
}

function chooseFirstLine(view) {
  if (!view.atoms.length) {
    [view.from, view.to] = [[0, 0, 0], [1, 1, 1]];
    element("from").value = "0, 0, 0";
    element("to").value = "1, 1, 1";
    return;
  }
  const far = view.atoms.map((atom) => nearestImage(view, view.atoms[0].position, atom.position).distance);
  chooseLine(view, 0, far.indexOf(Math.min(...far)));
}

function later(draw) {
  // Draws once after the last of several quick changes, so that a slider stays smooth.
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(draw, 30);
  };
}

function connectSolid(view, draw) {
  element("solid-field").addEventListener("change", (event) => { chooseSolidField(view, Number(event.target.value)); draw(); });
  element("level").addEventListener("input", (event) => {
    const first = levelOfSlider(view.fields[view.solidField], event.target.value / 1000);
    setLevels(view, [view.levels[0] < 0 ? -first : first, ...view.levels.slice(1)]);
    draw();
  });
  element("levels").addEventListener("change", (event) => {
    const levels = readNumbers(event.target, (numbers) => numbers.length <= 3 && numbers.every((x) => x !== 0));
    if (levels) { setLevels(view, levels); draw(); }
  });
  element("opacity").addEventListener("input", (event) => { view.opacity = event.target.value / 100; draw(); });
  element("labels").addEventListener("change", (event) => { view.labels = event.target.checked; draw(); });
  element("show-plane").addEventListener("change", (event) => { view.showPlane = event.target.checked; draw(); });
}

function connectPlanes(view, drawBoth, drawFlat) {
  element("plane-axis").addEventListener("change", (event) => { choosePlane(view, "abc".indexOf(event.target.value), 0); drawBoth(); });
  element("plane-index").addEventListener("input", () => { movePlane(view); drawBoth(); });
  element("plane-scale").addEventListener("change", (event) => { view.planeScale = event.target.value; drawFlat(); });
  element("plane-cells").addEventListener("change", (event) => { view.planeCells = Number(event.target.value); drawFlat(); });
}

function connectCurves(view, draw) {
  element("curve-kind").addEventListener("change", (event) => {
    view.curveKind = event.target.value;
    element("line-ends").hidden = view.curveKind !== "line";
    draw();
  });
  for (const end of ["from", "to"]) {
    element(end).addEventListener("change", (event) => {
      const point = readNumbers(event.target, (numbers) => numbers.length === 3);
      if (!point) return;
      view[end] = point;
      element(`${end}-atom`).value = "";
      draw();
    });
    element(`${end}-atom`).addEventListener("change", () => {
      const [one, two] = ["from-atom", "to-atom"].map((id) => element(id).value);
      if (one === "" || two === "") return;
      chooseLine(view, Number(one), Number(two));
      draw();
    });
  }
}

async function start() {
  const view = JSON.parse(element("data").textContent);
  if (typeof DecompressionStream === "undefined") {
    showFault("This browser is too old to read the page: take one of 2023 or later.");
    return;
  }
  Object.assign(view, { opacity: 0.6, labels: false, showPlane: true, planeScale: "auto", planeCells: 2, curveKind: "line" });
  for (const field of view.fields) {
    const of = view.fields[field.sizeOf]; // the field of an error map holds no bytes of its own
    field.values = of ? of.values.map(Math.abs) : await decodeField(field, view.shape);
    delete field.bytes;
  }
  view.fields.forEach((field, k) => element("solid-field").append(new Option(field.name, k)));
  fillAtomChoices(view);
  chooseSolidField(view, view.firstField);
  element("solid-field").value = view.firstField;
  choosePlane(view, 2, view.firstPlane);
  chooseFirstLine(view);
  const drawSolid = () => { noteLevels(view); return drawScene(view); };
  const solid = later(drawSolid), flat = later(() => drawPlanes(view)), curves = later(() => drawCurves(view));
  connectSolid(view, solid);
  connectPlanes(view, () => { flat(); if (view.showPlane) solid(); }, flat);
  connectCurves(view, curves);
  drawPlanes(view);
  await drawCurves(view);
  await drawSolid();
  window.ecdView = view; // for scripts that drive the page
  document.body.dataset.ready = "yes";
}
start();
