export const CORE: string
export function ascArguments(entry: string, out: string, level?: string): string[]
