/**
 * Which thing of the picture is next in a direction, for the arrow keys. Pure.
 */
const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * The nearest whose middle lies that way; what is off to the side counts as farther.
 * @template {Element} T
 * @param {T|null} from @param {T[]} candidates @param {string} key @returns {T|null}
 */
export function nearest(from, candidates, key) {
  const way = DIRECTIONS[/** @type {keyof typeof DIRECTIONS} */ (key)];
  if (!way || !candidates.length) return null;
  if (!from) return candidates[0];
  const here = middle(from);
  let best = null;
  let least = Infinity;
  for (const candidate of candidates) {
    const there = middle(candidate);
    const [dx, dy] = [there.x - here.x, there.y - here.y];
    const along = dx * way[0] + dy * way[1];
    const aside = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
    if (along <= 1 || candidate === from) continue;
    if (along + 2.5 * aside < least) [best, least] = [candidate, along + 2.5 * aside];
  }
  return best;
}

/** @param {Element} element */
function middle(element) {
  const box = element.getBoundingClientRect();
  return { x: box.left + box.width / 2, y: box.top + box.height / 2 };
}
