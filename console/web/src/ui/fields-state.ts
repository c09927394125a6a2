import { useState } from "react";

/** The fields of a form, all of them text as they are typed. */
export function useFields<T extends Record<string, string>>(initial: T): [T, <K extends keyof T>(name: K) => (value: string) => void] {
  const [fields, setFields] = useState(initial);
  const set = (name: keyof T) => (value: string) => setFields((before) => ({ ...before, [name]: value }));
  return [fields, set];
}

/** What was typed, or `null` for nothing. */
export const orNull = (text: string): string | null => (text.trim() === "" ? null : text.trim());
