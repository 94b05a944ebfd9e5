import type { Catalogue } from './en';
export const zhHans: Partial<Catalogue> = {};
