import { useEffect, useState } from "react";
import { Link, Outlet, useLocation, useNavigate, useSearchParams } from "react-router";

import { useAsOf, useKeepDay } from "../app/asof";
import { useRights } from "../app/session";
import { useTexts } from "../i18n";
import { formatDay } from "../lib/day";
import { fullName, initials } from "../lib/names";
import { departmentChoices, jobChoices, locationChoices, useDepartments, useJobs, useLocations } from "../organization/data";
import { Button, ButtonLink } from "../ui/button";
import { type Choice, Select } from "../ui/fields";
import { Badge, Empty, Loaded, Page } from "../ui/page";
import { type Filters, type Status, type Summary, usePeople } from "./data";

const STATUSES: Status[] = ["active", "not_yet_hired", "terminated"];
const FACETS = ["department", "job", "location", "manager", "status"] as const;

/** While one types, the list waits this long for the next letter. */
const PAUSE_MS = 200;

/** What is searched for is a name, so it stands in the tab's history and not in the address. */
function useSearch(): [string, (text: string) => void] {
  const location = useLocation();
  const navigate = useNavigate();
  const kept = (location.state as { q?: string } | null)?.q ?? "";
  const [text, setText] = useState(kept);
  useEffect(() => {
    if (text === kept) return;
    const later = setTimeout(() => {
      void navigate({ search: location.search }, { replace: true, state: { q: text } });
    }, PAUSE_MS);
    return () => clearTimeout(later);
  }, [text, kept, location.search, navigate]);
  return [text, setText];
}

export function People() {
  const { say } = useTexts();
  const rights = useRights();
  const keep = useKeepDay();
  const [asOf] = useAsOf();
  const [search, setSearch] = useSearchParams();
  const location = useLocation();
  const [typed, setTyped] = useSearch();
  const q = ((location.state as { q?: string } | null)?.q ?? "").trim();
  const filters: Filters = { q };
  for (const facet of FACETS) {
    const value = search.get(facet);
    if (value) filters[facet] = value as Status;
  }
  const people = usePeople(filters, asOf);
  const set = (facet: string, value: string) =>
    setSearch(
      (before) => {
        const after = new URLSearchParams(before);
        if (value) after.set(facet, value);
        else after.delete(facet);
        return after;
      },
      { state: location.state },
    );
  const rows = people.data?.pages.flatMap((page) => page.items) ?? [];
  const filtered = FACETS.some((facet) => search.has(facet)) || q !== "";
  return (
    <Page
      title={say("nav.people")}
      actions={rights.changes("directory") && <ButtonLink kind="main" to={keep(`/people/hire${location.search && ""}`)}>{say("hire")}</ButtonLink>}
    >
      <div className="filters" role="search">
        <label className="field grow">
          <span>{say("search")}</span>
          <input
            type="search"
            value={typed}
            maxLength={100}
            placeholder={say("search.people")}
            onChange={(event) => setTyped(event.target.value)}
            autoComplete="off"
            spellCheck="false"
          />
        </label>
        <Facets search={search} set={set} />
        {search.get("manager") && <Button onPress={() => set("manager", "")}>{say("filter.manager")} ✕</Button>}
        {filtered && (
          <Button
            kind="quiet"
            onPress={() => {
              setTyped("");
              setSearch(asOf ? { as_of: asOf } : {}, { state: {} });
            }}
          >
            {say("filter.none")}
          </Button>
        )}
      </div>
      <Loaded of={people}>
        {() => (
          <>
            <PeopleTable rows={rows} />
            <p className="soft" role="status">
              {people.hasNextPage ? say("people.shown_more", { count: rows.length }) : say("people.shown", { count: rows.length })}
            </p>
            {people.hasNextPage && (
              <Button onPress={() => void people.fetchNextPage()} isPending={people.isFetchingNextPage}>
                {say("more")}
              </Button>
            )}
          </>
        )}
      </Loaded>
      <Outlet />
    </Page>
  );
}

function Facets({ search, set }: { search: URLSearchParams; set: (facet: string, value: string) => void }) {
  const { say } = useTexts();
  const [asOf] = useAsOf();
  const any = (choices: Choice[]): Choice[] => [{ id: "", label: say("filter.any") }, ...choices];
  const departments = departmentChoices(useDepartments(asOf).data);
  const jobs = jobChoices(useJobs(asOf).data);
  const locations = locationChoices(useLocations(asOf).data);
  const facet = (name: string, label: string, choices: Choice[]) => (
    <Select label={label} value={search.get(name) ?? ""} onChange={(value) => set(name, value)} choices={choices} />
  );
  return (
    <>
      {facet("department", say("department"), any(departments))}
      {facet("job", say("job"), any(jobs))}
      {facet("location", say("location"), any(locations))}
      {facet(
        "status",
        say("status"),
        STATUSES.map((status) => ({ id: status === "active" ? "" : status, label: say(`status.${status}`) })),
      )}
    </>
  );
}

function PeopleTable({ rows }: { rows: Summary[] }) {
  const { say, language } = useTexts();
  const keep = useKeepDay();
  if (rows.length === 0) return <Empty>{say("people.none")}</Empty>;
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label={say("nav.people")}>
      <table>
        <thead>
          <tr>
            <th scope="col">{say("name")}</th>
            <th scope="col">{say("number")}</th>
            <th scope="col">{say("job")}</th>
            <th scope="col">{say("department")}</th>
            <th scope="col">{say("location")}</th>
            <th scope="col">{say("manager")}</th>
            <th scope="col">{say("since")}</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.employee_id}>
              <th scope="row">
                <Link className="person" to={keep(`/people/${row.employee_id}`)}>
                  <span className="avatar" aria-hidden="true">
                    {initials(row)}
                  </span>
                  {fullName(row) ?? say("unnamed")}
                </Link>
                <StatusBadge status={row.status} />
              </th>
              <td className="code">{row.employee_number}</td>
              <td>{row.job?.name}</td>
              <td>{row.department?.name}</td>
              <td>{row.location?.name}</td>
              <td>{row.manager && <Link to={keep(`/people/${row.manager.id}`)}>{fullName(row.manager) ?? say("unnamed")}</Link>}</td>
              <td className="nowrap">{formatDay(row.starts_on, language)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function StatusBadge({ status }: { status: Status }) {
  const { say } = useTexts();
  if (status === "active") return null;
  return <Badge kind={status === "terminated" ? "soft" : "ahead"}>{say(`status.${status}`)}</Badge>;
}
