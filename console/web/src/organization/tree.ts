/** Each before what is below it, siblings in the order in which they came, with how deep it stands. */
export function inTreeOrder<T extends { department_id: string; parent_id?: string | null }>(all: T[]): [T, number][] {
  const below = new Map<string | null, T[]>();
  const known = new Set(all.map((one) => one.department_id));
  for (const one of all) {
    // Whose parent is not there, or closed by then, stands at the top.
    const parent = one.parent_id && known.has(one.parent_id) ? one.parent_id : null;
    below.set(parent, [...(below.get(parent) ?? []), one]);
  }
  const ordered: [T, number][] = [];
  const seen = new Set<string>();
  const walk = (parent: string | null, depth: number) => {
    for (const one of below.get(parent) ?? []) {
      if (seen.has(one.department_id)) continue;
      seen.add(one.department_id);
      ordered.push([one, depth]);
      walk(one.department_id, depth + 1);
    }
  };
  walk(null, 0);
  // Nobody is left out, whatever the answer looks like.
  for (const one of all) if (!seen.has(one.department_id)) ordered.push([one, 0]);
  return ordered;
}
