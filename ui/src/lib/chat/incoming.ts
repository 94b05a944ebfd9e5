import type { MessageItem } from '../ipc/bindings/MessageItem';

/** Messages on their way. Who wants one that is being fetched already waits for that fetch. */
export class Incoming {
  #fetches = new Map<string, Promise<void>>();

  constructor(
    readonly get: (ids: string[]) => Promise<MessageItem[]>,
    readonly keep: (message: MessageItem) => void,
  ) {}

  async fetch(ids: string[]): Promise<void> {
    const fetches = this.#fetches;
    const fresh = ids.filter((id) => !fetches.has(id));
    if (fresh.length > 0) {
      const started = this.#bring(fresh, fetches);
      fresh.forEach((id) => fetches.set(id, started));
    }
    await Promise.all(new Set(ids.map((id) => fetches.get(id))));
  }

  /** A message became known by other means: what is on its way is older. */
  overtake(id: string): void {
    this.#fetches.delete(id);
  }

  overtakeAll(): void {
    this.#fetches = new Map();
  }

  async #bring(ids: string[], fetches: Map<string, Promise<void>>): Promise<void> {
    try {
      const messages = await this.get(ids);
      if (fetches !== this.#fetches) return;
      messages.filter((message) => fetches.has(message.id)).forEach(this.keep);
    } finally {
      ids.forEach((id) => fetches.delete(id));
    }
  }
}

/** Those of `wanted` that are in `thread` and not among the `told` messages. */
export function untold(wanted: string[], thread: string[], told: MessageItem[]): string[] {
  const here = new Set(told.map((message) => message.id));
  const stays = new Set(thread);
  return wanted.filter((id) => stays.has(id) && !here.has(id));
}
