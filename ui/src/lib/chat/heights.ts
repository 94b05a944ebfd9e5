/**
 * Heights of the rows of a long list, most of them estimates, with quick sums.
 *
 * A Fenwick tree: setting a height, the top of a row and the row at a place all take O(log n).
 */
export class Heights {
  readonly #tree: Float64Array;
  readonly #heights: Float64Array;

  constructor(heights: ArrayLike<number>) {
    const count = heights.length;
    this.#heights = Float64Array.from(heights);
    this.#tree = new Float64Array(count + 1);
    for (let at = 1; at <= count; at += 1) {
      this.#tree[at] = (this.#tree[at] as number) + (heights[at - 1] as number);
      const next = at + (at & -at);
      if (next <= count) this.#tree[next] = (this.#tree[next] as number) + (this.#tree[at] as number);
    }
  }

  get count(): number {
    return this.#heights.length;
  }

  get total(): number {
    return this.top(this.count);
  }

  /** Sets a height; by how much it differs from before. */
  set(index: number, height: number): number {
    const change = height - (this.#heights[index] as number);
    this.#heights[index] = height;
    for (let at = index + 1; at < this.#tree.length; at += at & -at) {
      this.#tree[at] = (this.#tree[at] as number) + change;
    }
    return change;
  }

  /** Sum of the heights before a row. */
  top(index: number): number {
    let sum = 0;
    for (let at = index; at > 0; at -= at & -at) sum += this.#tree[at] as number;
    return sum;
  }

  /** The row that covers `y`; the first or last one beyond the ends. */
  at(y: number): number {
    let index = 0;
    let left = y;
    for (let step = 2 ** Math.floor(Math.log2(Math.max(this.count, 1))); step >= 1; step /= 2) {
      const next = index + step;
      if (next < this.#tree.length && (this.#tree[next] as number) <= left) {
        index = next;
        left -= this.#tree[next] as number;
      }
    }
    return Math.max(0, Math.min(index, this.count - 1));
  }
}
