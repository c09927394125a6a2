import { type ReactNode, useState } from "react";
import { NavLink, useNavigate } from "react-router";

import { useKeepDay, useToday } from "../app/asof";
import { useTexts } from "../i18n";
import type { Day } from "../lib/day";
import { TextInput } from "../ui/fields";
import { CommandForm, Sheet } from "../ui/form";
import { Page, Waiting } from "../ui/page";

/** The parts of the organization, one beside the other. */
export function OrganizationPage({ title, actions, children }: { title: string; actions?: ReactNode; children: ReactNode }) {
  const { say } = useTexts();
  const keep = useKeepDay();
  const tabs: [string, string][] = [
    ["/organization/chart", say("chart")],
    ["/organization/departments", say("departments")],
    ["/organization/jobs", say("jobs")],
    ["/organization/locations", say("locations")],
  ];
  return (
    <>
      <nav className="tabs" aria-label={say("nav.organization")}>
        {tabs.map(([to, label]) => (
          <NavLink key={to} to={keep(to)}>
            {label}
          </NavLink>
        ))}
      </nav>
      <Page title={title} actions={actions}>
        {children}
      </Page>
    </>
  );
}

/** A command about a part of the organization, from a day on; today, if nothing else is said. */
export function FromDay({ title, list, danger, follows, send, children }: {
  title: string;
  /** The list that it was opened from. */
  list: string;
  danger?: boolean;
  follows?: (day: Day) => ReactNode;
  send: (key: string, day: Day) => Promise<unknown>;
  children?: (day: Day) => ReactNode;
}) {
  const { say } = useTexts();
  const keep = useKeepDay();
  const today = useToday();
  return (
    <Sheet title={title} back={keep(list)}>
      {today ? (
        <FromDayForm title={title} back={keep(list)} today={today} send={send} danger={danger ?? false} follows={follows}>
          {children}
        </FromDayForm>
      ) : (
        <Waiting text={say("loading")} />
      )}
    </Sheet>
  );
}

function FromDayForm({ title, back, today, send, danger, follows, children }: {
  title: string;
  back: string;
  today: Day;
  danger: boolean;
  send: (key: string, day: Day) => Promise<unknown>;
  follows: ((day: Day) => ReactNode) | undefined;
  children: ((day: Day) => ReactNode) | undefined;
}) {
  const { say } = useTexts();
  const navigate = useNavigate();
  const [day, setDay] = useState<Day>(today);
  return (
    <CommandForm
      submit={title}
      danger={danger}
      send={(key) => send(key, day)}
      done={() => void navigate(back, { replace: true })}
      follows={follows?.(day)}
    >
      <TextInput name="/effective_on" type="date" label={say("effective_on")} required value={day} onChange={setDay} />
      {children?.(day)}
    </CommandForm>
  );
}
