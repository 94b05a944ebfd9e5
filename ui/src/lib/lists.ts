/** Lists that a person edits. */

/**
 * Takes the item at `index` out of a list; the answer puts it back where it was. `list` is asked anew
 * then: the list may have been replaced meanwhile. `touch` hears of both.
 */
export function takeOut<T>(list: () => T[], index: number, touch: () => void): () => Promise<void> {
  const gone = list().splice(index, 1);
  touch();
  return async () => {
    list().splice(index, 0, ...gone);
    touch();
  };
}
