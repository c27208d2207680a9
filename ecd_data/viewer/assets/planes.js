// Planes through the cell, in their true shape, on canvases that need no WebGL.

const PLANE_SIZE = 340, EDGE = 10, BAR = 76; // pixels: of the plane, around it for atoms on its border, of the colour bar
const MAX_ATOM_HEIGHT = 0.6; // Å above or below the plane: farther atoms are not drawn

function planeValues(values, shape, axis, index) {
  const [u, v] = [0, 1, 2].filter((k) => k !== axis), strides = [shape[1] * shape[2], shape[2], 1];
  const plane = new Float32Array(shape[u] * shape[v]);
  for (let i = 0; i < shape[u]; i++)
    for (let j = 0; j < shape[v]; j++)
      plane[i * shape[v] + j] = values[index * strides[axis] + i * strides[u] + j * strides[v]];
  return plane;
}

function planeFrame(view) {
  // The two sides of the plane in a flat frame whose x is along the first, and the map between pixels and fractions.
  const sides = [0, 1, 2].filter((k) => k !== view.planeAxis), [one, two] = sides.map((k) => view.lattice[k]);
  const normal = cross(one, two), unit = scaled(one, 1 / length(one)), up = cross(scaled(normal, 1 / length(normal)), unit);
  const width = length(one), shear = dot(two, unit), height = dot(two, up), cells = view.planeCells;
  const left = Math.min(0, shear) * cells, right = (width + Math.max(0, shear)) * cells;
  const scale = PLANE_SIZE / Math.max(right - left, height * cells);
  return {
    sides, unit, up, normal: scaled(normal, 1 / length(normal)), cells,
    pixelWidth: Math.ceil((right - left) * scale) + 2 * EDGE, pixelHeight: Math.ceil(height * cells * scale) + 2 * EDGE,
    toFractions(x, y) {
      const v = cells - (y - EDGE) / scale / height;
      return [((x - EDGE) / scale + left - v * shear) / width, v];
    },
    toPixels(u, v) {
      return [(u * width + v * shear - left) * scale + EDGE, (cells - v) * height * scale + EDGE];
    },
  };
}

function linearInPlane(plane, nu, nv, u, v) {
  const x = u * nu, y = v * nv, i = Math.floor(x), j = Math.floor(y), p = x - i, q = y - j;
  const at = (a, b) => plane[wrap(a, nu) * nv + wrap(b, nv)];
  return (1 - p) * ((1 - q) * at(i, j) + q * at(i, j + 1)) + p * ((1 - q) * at(i + 1, j) + q * at(i + 1, j + 1));
}

function drawPlane(canvas, plane, frame, view, colours) {
  const [nu, nv] = frame.sides.map((k) => view.shape[k]);
  canvas.width = frame.pixelWidth + BAR;
  canvas.height = Math.max(frame.pixelHeight, 60);
  const context = canvas.getContext("2d"), image = context.createImageData(frame.pixelWidth, frame.pixelHeight);
  for (let y = 0, k = 0; y < frame.pixelHeight; y++)
    for (let x = 0; x < frame.pixelWidth; x++, k += 4) {
      const [u, v] = frame.toFractions(x + 0.5, y + 0.5);
      if (u < 0 || v < 0 || u > frame.cells || v > frame.cells) continue;
      const code = Math.round(255 * colours.forward(linearInPlane(plane, nu, nv, u, v)));
      for (let c = 0; c < 3; c++) image.data[k + c] = colours.table[3 * code + c];
      image.data[k + 3] = 255;
    }
  context.putImageData(image, 0, 0);
  drawPlaneAtoms(context, frame, view);
  drawColourBar(context, frame.pixelWidth + 8, canvas.height, colours);
}

function atomsNearPlane(frame, view) {
  const axis = view.planeAxis, found = [], rise = view.lattice[axis], height = dot(rise, frame.normal);
  const slant = [frame.unit, frame.up].map((side) => dot(rise, side)); // the foot of the axis that crosses the plane
  const [one, two] = frame.sides.map((k) => view.lattice[k]), shear = dot(two, frame.unit);
  for (const atom of view.atoms) {
    let above = atom.position[axis] - view.planePlace;
    above -= Math.round(above);
    if (Math.abs(above * height) > MAX_ATOM_HEIGHT) continue;
    const v = atom.position[frame.sides[1]] + (above * slant[1]) / dot(two, frame.up);
    const u = atom.position[frame.sides[0]] + (above * (slant[0] - (slant[1] / dot(two, frame.up)) * shear)) / length(one);
    for (let i = 0; i <= frame.cells; i++)
      for (let j = 0; j <= frame.cells; j++) {
        const place = [wrap(u, 1) + i, wrap(v, 1) + j];
        if (Math.max(...place) <= frame.cells + 1e-9) found.push({ ...atom, place, height: above * height });
      }
  }
  return found;
}

function drawPlaneAtoms(context, frame, view) {
  context.font = "10px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const { symbol, place, height } of atomsNearPlane(frame, view)) {
    const [x, y] = frame.toPixels(...place), inside = Math.abs(height) < 0.1;
    context.beginPath();
    context.arc(x, y, 8, 0, 2 * Math.PI);
    if (inside) {
      context.fillStyle = "rgba(255, 255, 255, 0.75)";
      context.fill();
    }
    context.strokeStyle = context.fillStyle = inside ? "#000" : "#888";
    context.stroke();
    context.fillText(symbol, x, y);
  }
}

function drawColourBar(context, left, height, colours) {
  const top = 8, rows = height - 16;
  for (let y = 0; y < rows; y++) {
    const code = Math.round(255 * (1 - y / (rows - 1)));
    context.fillStyle = `rgb(${colours.table.slice(3 * code, 3 * code + 3).join(",")})`;
    context.fillRect(left, top + y, 10, 1);
  }
  context.fillStyle = "#222";
  context.font = "10px system-ui, sans-serif";
  context.textAlign = "left";
  context.textBaseline = "middle";
  const ticks = rows > 120 ? [0, 0.25, 0.5, 0.75, 1] : [0, 0.5, 1];
  for (const t of ticks) context.fillText(format(colours.back(t)), left + 13, top + (1 - t) * (rows - 1));
}

function drawPlanes(view) {
  const frame = planeFrame(view), shape = view.shape, target = document.getElementById("planes");
  const planes = view.fields.map((field) => planeValues(field.values, shape, view.planeAxis, view.planeIndex));
  target.replaceChildren();
  view.fields.forEach((field, n) => {
    const alike = view.fields.map((other, k) => k).filter((k) => view.fields[k].role === field.role); // share colours
    const signed = alike.some((k) => view.fields[k].signed);
    const colours = chooseColours(alike.map((k) => planes[k]), signed, view.planeScale);
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    const canvas = document.createElement("canvas");
    canvas.className = "plane";
    caption.textContent = `${field.name}, e/Å³${colours.log ? ", logarithmic" : ""}`;
    figure.append(caption, canvas);
    target.append(figure);
    drawPlane(canvas, planes[n], frame, view, colours);
    canvas.addEventListener("pointermove", (event) => readPlane(event, planes, frame, view));
  });
}

function readPlane(event, planes, frame, view) {
  const [u, v] = frame.toFractions(event.offsetX, event.offsetY), [nu, nv] = frame.sides.map((k) => view.shape[k]);
  if (u < 0 || v < 0 || u > frame.cells || v > frame.cells) return;
  const point = [u, v];
  point.splice(view.planeAxis, 0, view.planePlace);
  const values = view.fields.map((field, n) => `${field.name} ${format(linearInPlane(planes[n], nu, nv, u, v))}`);
  document.getElementById("plane-value").textContent = `(${point.map((x) => x.toFixed(3)).join(", ")}): ${values.join("; ")} e/Å³`;
}
