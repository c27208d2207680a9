// The three-dimensional scene: isosurfaces, atoms, the cell and the plane that the page shows, drawn by plotly.js.

const POSITIVE = ["#d9a514", "#c1440e", "#7a1f0a"], NEGATIVE = ["#2d7fb8", "#16497a", "#0a2540"]; // by isovalue

const LIGHTING = { ambient: 0.5, diffuse: 0.65, specular: 0.2, roughness: 0.5 }, LIGHT = { x: -100000, y: 100000, z: -1000 };
// (the light is in the frame of the viewer, from above on the left)
// plotly's button "Share chart" would send the density to a server, so it is left out and has no address
const PLOT_OPTIONS = {
  displaylogo: false, responsive: true, showSendToCloud: false, plotlyServerURL: "",
  modeBarButtonsToRemove: ["sendChartToCloud", "sendDataToCloud", "editInChartStudio"],
};
const ZOOM = 1.55; // of plotly's unit cube, so that a cell fills the frame

function hasWebGL() {
  try {
    const canvas = document.createElement("canvas");
    return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
  } catch {
    return false;
  }
}

function surfaceTrace(field, view, level, colour) {
  const { positions, i, j, k } = findSurface(field.values, view.shape, level);
  const x = new Float32Array(positions.length / 3), y = new Float32Array(x.length), z = new Float32Array(x.length);
  for (let n = 0; n < x.length; n++) [x[n], y[n], z[n]] = toCartesian(positions.subarray(3 * n, 3 * n + 3), view.lattice);
  return {
    type: "mesh3d", x, y, z, i, j, k, color: colour, opacity: view.opacity, hoverinfo: "skip", name: `${format(level)} e/Å³`,
    lighting: LIGHTING, lightposition: LIGHT, showlegend: true,
  };
}

function surfaceTraces(field, view) {
  const traces = [];
  view.levels.forEach((level, n) => {
    traces.push(surfaceTrace(field, view, level, (level < 0 ? NEGATIVE : POSITIVE)[n % 3]));
    if (field.signed) traces.push(surfaceTrace(field, view, -level, (level < 0 ? POSITIVE : NEGATIVE)[n % 3]));
  });
  return traces.filter((trace) => trace.x.length);
}

function atomsOfCell(view) {
  // with the images on faces of the cell, so that a corner atom stands on all eight corners
  const found = [], near = 1e-3;
  for (const atom of view.atoms) {
    const base = atom.position.map((x) => (wrap(x, 1) > 1 - near ? wrap(x, 1) - 1 : wrap(x, 1)));
    const choices = base.map((x) => (x < near ? [x, x + 1] : [x]));
    for (const a of choices[0])
      for (const b of choices[1]) for (const c of choices[2]) found.push({ ...atom, place: toCartesian([a, b, c], view.lattice) });
  }
  return found;
}

function sphere(segments) {
  const points = [], faces = [];
  for (let i = 0; i <= segments; i++)
    for (let j = 0; j < 2 * segments; j++) {
      const t = (Math.PI * i) / segments, p = (Math.PI * j) / segments;
      points.push([Math.sin(t) * Math.cos(p), Math.sin(t) * Math.sin(p), Math.cos(t)]);
      if (i === segments) continue;
      const here = i * 2 * segments + j, right = i * 2 * segments + ((j + 1) % (2 * segments));
      faces.push([here, here + 2 * segments, right], [right, here + 2 * segments, right + 2 * segments]);
    }
  return { points, faces };
}

function atomTraces(view) {
  const atoms = atomsOfCell(view), { points, faces } = sphere(atoms.length > 200 ? 5 : 9), traces = [];
  for (const [symbol, { colour, radius }] of Object.entries(view.elements)) {
    const trace = { type: "mesh3d", x: [], y: [], z: [], i: [], j: [], k: [], color: colour, hoverinfo: "skip", name: symbol, lighting: LIGHTING, lightposition: LIGHT, showlegend: true };
    for (const { place } of atoms.filter((atom) => atom.symbol === symbol)) {
      const start = trace.x.length;
      for (const point of points) ["x", "y", "z"].forEach((key, n) => trace[key].push(place[n] + radius * point[n]));
      for (const face of faces) ["i", "j", "k"].forEach((key, n) => trace[key].push(start + face[n]));
    }
    traces.push(trace);
  }
  traces.push({
    type: "scatter3d", mode: view.labels ? "markers+text" : "markers", text: atoms.map((atom) => atom.label),
    x: atoms.map((atom) => atom.place[0]), y: atoms.map((atom) => atom.place[1]), z: atoms.map((atom) => atom.place[2]),
    customdata: atoms.map((atom) => atom.position.map((x) => x.toFixed(4)).join(", ")),
    hovertemplate: "%{text} at (%{customdata})<extra></extra>", marker: { size: 6, opacity: 0.01 }, showlegend: false,
  });
  return traces;
}

function lineTrace(points, view, colour, width, name) {
  const places = points.map((point) => (point ? toCartesian(point, view.lattice) : [null, null, null]));
  return {
    type: "scatter3d", mode: "lines", line: { color: colour, width }, hoverinfo: "skip", showlegend: false, name,
    x: places.map((p) => p[0]), y: places.map((p) => p[1]), z: places.map((p) => p[2]),
  };
}

function cellTraces(view) {
  const edges = [];
  for (const [one, two] of EDGES) edges.push(...[one, two].map((n) => [n & 1, (n >> 1) & 1, n >> 2]), null);
  const names = [[1.06, 0, 0], [0, 1.06, 0], [0, 0, 1.06]].map((point) => toCartesian(point, view.lattice));
  const axes = {
    type: "scatter3d", mode: "text", text: ["a", "b", "c"], hoverinfo: "skip", showlegend: false,
    x: names.map((p) => p[0]), y: names.map((p) => p[1]), z: names.map((p) => p[2]),
  };
  return [lineTrace(edges, view, "#555", 2, "cell"), axes];
}

function planeTrace(view) {
  const corners = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]].map(([u, v]) => {
    const point = [u, v];
    point.splice(view.planeAxis, 0, view.planePlace);
    return point;
  });
  return lineTrace(corners, view, "#2ca02c", 4, "plane");
}

function sceneAxes(view) {
  // ranges with room for atoms on faces, and proportions that make an Å equally long along x, y and z
  const corners = Array.from({ length: 8 }, (_, n) => toCartesian([n & 1, (n >> 1) & 1, n >> 2], view.lattice));
  const low = [0, 1, 2].map((axis) => Math.min(...corners.map((corner) => corner[axis])));
  const high = [0, 1, 2].map((axis) => Math.max(...corners.map((corner) => corner[axis])));
  const margin = Math.max(0.8, 0.07 * Math.max(...minus(high, low)));
  const spans = minus(high, low).map((span) => span + 2 * margin), ratio = ZOOM / Math.max(...spans);
  const axis = (n) => ({ visible: false, showspikes: false, range: [low[n] - margin, high[n] + margin] });
  return {
    aspectmode: "manual", aspectratio: { x: spans[0] * ratio, y: spans[1] * ratio, z: spans[2] * ratio },
    xaxis: axis(0), yaxis: axis(1), zaxis: axis(2),
  };
}

function drawScene(view) {
  const target = document.getElementById("scene");
  if (!hasWebGL()) {
    target.textContent = "";
    const sentence = document.createElement("p");
    sentence.id = "no-webgl";
    sentence.textContent = "This browser offers no WebGL, so it cannot draw isosurfaces. The planes and curves below need none. "
      + "Switch hardware acceleration on in its settings, or open the file in another browser.";
    target.append(sentence);
    return Promise.resolve();
  }
  const traces = [...surfaceTraces(view.fields[view.solidField], view), ...atomTraces(view), ...cellTraces(view)];
  if (view.showPlane) traces.push(planeTrace(view));
  const layout = {
    margin: { l: 0, r: 0, t: 0, b: 0 }, uirevision: "same", legend: { x: 0, y: 1, itemsizing: "constant" },
    scene: {
      ...sceneAxes(view), uirevision: "same",
      camera: { projection: { type: "orthographic" }, eye: { x: 0.75, y: -1.45, z: 0.55 } },
    },
  };
  return Plotly.react(target, traces, layout, PLOT_OPTIONS);
}
