// Points that are drawn near a corner or an edge of a field go there, so that neighbours share it and no gap is left.

const away = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);

export function edgePoint([x, y], [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay];
  const long = dx * dx + dy * dy;
  const share = long ? Math.min(Math.max(((x - ax) * dx + (y - ay) * dy) / long, 0), 1) : 0;
  return [ax + share * dx, ay + share * dy];
}

// The nearest corner within reach; else the nearest place of an edge; else the point itself.
export function snap(at, rings, reach) {
  let [corner, edge] = [null, null];
  for (const ring of rings) {
    for (const [k, point] of ring.entries()) {
      const apart = away(point, at);
      if (apart <= reach && !(corner && corner.apart <= apart)) corner = { apart, at: point };
      const place = edgePoint(at, point, ring[(k + 1) % ring.length]);
      const gone = away(place, at);
      if (gone <= reach && !(edge && edge.apart <= gone)) edge = { apart: gone, at: place };
    }
  }
  const found = corner || edge;
  return found ? { at: [...found.at], kind: corner ? "corner" : "edge" } : { at, kind: "" };
}
