import type { Catalogue } from './en';
export const zhHant: Partial<Catalogue> = {};
