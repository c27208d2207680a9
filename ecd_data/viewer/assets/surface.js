// Isosurfaces by naive surface nets (Gibson 1998): one vertex in each cell of the grid that the surface crosses, at the
// mean of the crossings of the cell's edges, and one quadrilateral for each grid edge that it crosses.

const EDGES = [];
for (let one = 0; one < 8; one++)
  for (const bit of [1, 2, 4]) if (!(one & bit)) EDGES.push([one, one | bit]);

function findSurface(values, shape, level) {
  // Fractional positions [3 n] and corners of triangles of the surface value = level in the cell from 0 to 1, which
  // reaches half a grid step over each of its faces, so that the surface ends there and not before.
  const size = shape.map((n) => n + 2); // cells -1 ... n along each axis; cell k lies between points k and k + 1
  const index = shape.map((n) => Int32Array.from({ length: n + 3 }, (_, k) => wrap(k - 1, n)));
  const inside = new Uint8Array(values.length);
  for (let k = 0; k < values.length; k++) inside[k] = values[k] > level ? 1 : 0;
  const vertexOf = new Int32Array(size[0] * size[1] * size[2]).fill(-1);
  const positions = [], triangles = { i: [], j: [], k: [] };
  const corner = new Int32Array(8);
  for (let i = 0, cell = 0; i < size[0]; i++)
    for (let j = 0; j < size[1]; j++) {
      const rows = [];
      for (let b = 0; b < 4; b++)
        rows.push((index[0][i + (b & 1)] * shape[1] + index[1][j + (b >> 1)]) * shape[2]);
      for (let k = 0; k < size[2]; k++, cell++) {
        const near = index[2][k], far = index[2][k + 1];
        let count = 0;
        for (let b = 0; b < 4; b++) {
          corner[b] = rows[b] + near;
          corner[b + 4] = rows[b] + far;
          count += inside[corner[b]] + inside[corner[b + 4]];
        }
        if (count === 0 || count === 8) continue;
        vertexOf[cell] = positions.length / 3;
        const offset = meanCrossing(values, corner, level);
        positions.push((i - 1 + offset[0]) / shape[0], (j - 1 + offset[1]) / shape[1], (k - 1 + offset[2]) / shape[2]);
      }
    }
  const strides = [size[1] * size[2], size[2], 1];
  for (let i = 1; i < size[0]; i++)
    for (let j = 1; j < size[1]; j++)
      for (let k = 1; k < size[2]; k++) {
        const cell = i * strides[0] + j * strides[1] + k;
        if (vertexOf[cell] < 0) continue; // the surface crosses no edge of this cell
        const point = [i, j, k];
        const here = inside[(index[0][i] * shape[1] + index[1][j]) * shape[2] + index[2][k]];
        for (let axis = 0; axis < 3; axis++) {
          if (point[axis] === size[axis] - 1) continue;
          const next = [index[0][i + (axis === 0)], index[1][j + (axis === 1)], index[2][k + (axis === 2)]];
          if (here === inside[(next[0] * shape[1] + next[1]) * shape[2] + next[2]]) continue;
          addQuadrilateral(triangles, vertexOf, cell, strides[(axis + 1) % 3], strides[(axis + 2) % 3], here === 1);
        }
      }
  return { positions: Float32Array.from(positions), ...triangles };
}

function meanCrossing(values, corner, level) {
  let count = 0;
  const sum = [0, 0, 0];
  for (const [one, two] of EDGES) {
    const from = values[corner[one]] - level, to = values[corner[two]] - level;
    if (from > 0 === to > 0) continue;
    const share = from / (from - to), bit = one ^ two;
    for (let axis = 0; axis < 3; axis++) sum[axis] += bit === 1 << axis ? share : (one >> axis) & 1;
    count++;
  }
  return sum.map((x) => x / count);
}

function addQuadrilateral(triangles, vertexOf, cell, one, two, outward) {
  // the four cells around a grid edge; the order of the corners decides which side is the outer one
  const corners = [cell - one - two, cell - two, cell, cell - one].map((k) => vertexOf[k]);
  if (!outward) corners.reverse();
  triangles.i.push(corners[0], corners[0]);
  triangles.j.push(corners[1], corners[2]);
  triangles.k.push(corners[2], corners[3]);
}
