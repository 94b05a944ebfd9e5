/** Who the person is in one chat or another, saved to be chosen again. */
import type { You } from './you';

export type Persona = You & { id: number };

const KEY = 'personas';

export const isSame = (a: You, b: You): boolean =>
  a.userName === b.userName && a.userPersona === b.userPersona;

/** Whether nothing is said about the person. */
export const isNobody = ({ userName, userPersona }: You): boolean =>
  userName.trim() === '' && userPersona.trim() === '';

function read(): Persona[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? '[]');
    return Array.isArray(kept) ? (kept as Persona[]) : [];
  } catch {
    return []; // not written by us
  }
}

export class Personas {
  /** In the order in which they were saved. */
  list = $state.raw<Persona[]>(read());

  /** The saved one that says the same. */
  find(you: You): Persona | null {
    return this.list.find((persona) => isSame(persona, you)) ?? null;
  }

  /** Saves a new one, unless one says the same; the answer is the one that is there. */
  add({ userName, userPersona }: You): Persona {
    const known = this.find({ userName, userPersona });
    if (known) return known;
    const id = Math.max(Date.now(), ...this.list.map((persona) => persona.id + 1));
    const made = { id, userName, userPersona };
    this.#set([...this.list, made]);
    return made;
  }

  /** Changes a saved one; the answer changes it back. */
  change(id: number, { userName, userPersona }: You): () => void {
    const before = this.list.find((persona) => persona.id === id);
    const put = (changed: Persona) =>
      this.#set(this.list.map((persona) => (persona.id === id ? changed : persona)));
    put({ id, userName, userPersona });
    return () => before && put(before);
  }

  /** Removes a saved one; the answer brings it back. */
  remove(id: number): () => void {
    const at = this.list.findIndex((persona) => persona.id === id);
    const gone = this.list.slice(at, at + 1);
    this.#set(this.list.filter((persona) => persona.id !== id));
    return () => this.#set([...this.list.slice(0, at), ...gone, ...this.list.slice(at)]);
  }

  #set(list: Persona[]): void {
    this.list = list;
    localStorage.setItem(KEY, JSON.stringify(list));
  }
}

/** Those of the window. */
export const personas = new Personas();
