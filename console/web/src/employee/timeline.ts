import type { Day } from "../lib/day";
import type { History } from "./data";

/** One thing that took effect on a day. */
export type Moment = {
  day: Day;
  kind: "started" | "ended" | "assignment" | "pay" | "person" | "contact";
  /** Another change of the same day came after it. */
  superseded: boolean;
  /** What it says, by the names of the fields that it sets. */
  facts: { name: string; value: string | null }[];
  reason: string | null;
};

type Named = { name?: string | null; code?: string | null; given_name?: string | null; family_name?: string | null } | null | undefined;

const nameOf = (one: Named): string | null => {
  const name = [one?.given_name, one?.family_name].filter(Boolean).join(" ");
  return name || one?.name || one?.code || null;
};

/** A person's history as one list, latest day first; on one day the last change first. Pay is laid out by `money`. */
export function momentsOf(history: History, money: (rate: string, currency: string) => string): Moment[] {
  const all: (Moment & { seq: number })[] = [];
  for (const employment of history.employments) {
    all.push({ day: employment.starts_on, seq: -1, kind: "started", superseded: false, facts: [], reason: null });
    if (employment.ends_on) {
      const reason = employment.termination_reason ?? null;
      all.push({ day: employment.ends_on, seq: 1e9, kind: "ended", superseded: false, facts: [], reason });
    }
  }
  for (const row of history.assignments) {
    const values: Record<string, string | null> = {
      department: nameOf(row.department),
      job: nameOf(row.job),
      location: nameOf(row.location),
      manager: nameOf(row.manager),
    };
    // A field is called by its id where it is set: `department_id`.
    const facts = row.sets.map((field) => field.replace(/_id$/, "")).map((name) => ({ name, value: values[name] ?? null }));
    all.push({ day: row.valid_from, seq: row.seq, kind: "assignment", superseded: row.superseded, facts, reason: row.reason ?? null });
  }
  for (const row of history.compensations) {
    const facts = [{ name: `pay.${row.per}`, value: money(row.rate, row.currency) }];
    all.push({ day: row.valid_from, seq: row.seq, kind: "pay", superseded: row.superseded, facts, reason: row.reason });
  }
  const plain = (kind: "person" | "contact", rows: (History["personal"] | History["contact"])[number][]) => {
    for (const row of rows) {
      const values = row as unknown as Record<string, string | null | undefined>;
      const facts = row.sets.map((name) => ({ name, value: values[name] ?? null }));
      all.push({ day: row.valid_from, seq: row.seq, kind, superseded: row.superseded, facts, reason: null });
    }
  };
  plain("person", history.personal);
  plain("contact", history.contact);
  return all.sort((a, b) => (a.day === b.day ? b.seq - a.seq : a.day < b.day ? 1 : -1)).map(({ seq: _, ...moment }) => moment);
}

/** The days on which something took effect, earliest first. */
export function daysOf(moments: Moment[]): Day[] {
  return [...new Set(moments.map((moment) => moment.day))].sort();
}
