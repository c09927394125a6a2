/** A name that was erased or may not be seen is null. */
type Named = { given_name?: string | null; family_name?: string | null };

/** Given and family name; null where there is neither. */
export function fullName(person: Named | null | undefined): string | null {
  const parts = [person?.given_name, person?.family_name].filter((part): part is string => !!part);
  return parts.length > 0 ? parts.join(" ") : null;
}

/** Of somebody's name, for the round sign beside it. */
export function initials(person: Named | null | undefined): string {
  const first = (text: string | null | undefined) => [...(text ?? "")][0] ?? "";
  return (first(person?.given_name) + first(person?.family_name)).toUpperCase() || "–";
}
