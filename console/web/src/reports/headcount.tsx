import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Link, useSearchParams } from "react-router";

import { data, queries } from "../api/client";
import type { components } from "../api/queries";
import { useAsOf, useKeepDay, useToday } from "../app/asof";
import { useTexts } from "../i18n";
import { type Day, formatDay, formatMonth, plusMonths } from "../lib/day";
import { formatMoney } from "../lib/money";
import { Select } from "../ui/fields";
import { Empty, Loaded, Page } from "../ui/page";

type Group = components["schemas"]["Group"];

const GROUPINGS = ["department", "job", "location", "month"] as const;
type Grouping = (typeof GROUPINGS)[number];

function useHeadcount(grouping: Grouping, asOf: Day | undefined, subdepartments: boolean, months: number, until: Day | undefined) {
  return useQuery({
    queryKey: ["headcount", grouping, asOf, subdepartments, months, until],
    enabled: grouping !== "month" || !!until,
    placeholderData: keepPreviousData,
    queryFn: ({ signal }) => {
      const range = grouping === "month" && until ? { from: plusMonths(until, 1 - months).slice(0, 7), to: until.slice(0, 7) } : {};
      const day = grouping !== "month" && asOf ? { as_of: asOf } : {};
      const below = grouping === "department" && subdepartments ? { include_subdepartments: true } : {};
      return data(queries.GET("/v1/reports/headcount", { params: { query: { group_by: grouping, ...range, ...day, ...below } }, signal }));
    },
  });
}

/** How many people, and what they earn a year, of a day by part of the organization, or over the months. */
export function Headcount() {
  const { say, language } = useTexts();
  const [asOf] = useAsOf();
  const today = useToday();
  const [search, setSearch] = useSearchParams();
  const asked = search.get("by");
  const grouping = GROUPINGS.find((one) => one === asked) ?? "department";
  const subdepartments = search.get("below") === "1";
  const months = Number(search.get("months")) || 24;
  const headcount = useHeadcount(grouping, asOf, subdepartments, months, asOf ?? today);
  const set = (name: string, value: string) =>
    setSearch((before) => {
      const after = new URLSearchParams(before);
      if (value) after.set(name, value);
      else after.delete(name);
      return after;
    });
  return (
    <Page title={say("headcount")}>
      <div className="filters">
        <Select
          label={say("group_by")}
          value={grouping}
          onChange={(value) => set("by", value)}
          choices={GROUPINGS.map((id) => ({ id, label: say(id === "month" ? "month" : id) }))}
        />
        {grouping === "department" && (
          <label className="check">
            <input type="checkbox" checked={subdepartments} onChange={(event) => set("below", event.target.checked ? "1" : "")} />
            <span>{say("headcount.below")}</span>
          </label>
        )}
        {grouping === "month" && (
          <Select
            label={say("months")}
            value={String(months)}
            onChange={(value) => set("months", value)}
            choices={["12", "24", "60", "120"].map((id) => ({ id, label: id }))}
          />
        )}
      </div>
      <Loaded of={headcount}>
        {(report) => (
          <>
            <p className="figures">
              <strong>{report.total.headcount.toLocaleString(language)}</strong> {say("people.on", { day: formatDay(report.as_of, language) })}
              {report.total.annual_pay.map((pay) => (
                <span key={pay.currency}>
                  {" · "}
                  {formatMoney(pay.amount, pay.currency, language, 0)} {say("per_year")}
                </span>
              ))}
            </p>
            {report.groups.length === 0 ? <Empty>{say("people.none")}</Empty> : <Groups groups={report.groups} grouping={grouping} />}
          </>
        )}
      </Loaded>
    </Page>
  );
}

/** Bars that are a table, so that whoever can't see them reads the same. */
function Groups({ groups, grouping }: { groups: Group[]; grouping: Grouping }) {
  const { say, language } = useTexts();
  const keep = useKeepDay();
  const most = Math.max(1, ...groups.map((group) => group.headcount));
  const named = (group: Group) => {
    if ("month" in group) return formatMonth(group.month, language);
    const name = group.name ?? say("none");
    return group.id ? <Link to={keep(`/people?${grouping}=${group.id}`)}>{name}</Link> : name;
  };
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label={say("headcount")}>
      <table>
        <thead>
          <tr>
            <th scope="col">{say(grouping)}</th>
            <th scope="col" className="number">
              {say("people")}
            </th>
            <th scope="col" className="barcolumn">
              <span className="hidden">{say("share")}</span>
            </th>
            <th scope="col" className="number">
              {say("pay.annual")}
            </th>
          </tr>
        </thead>
        <tbody>
          {groups.map((group, n) => (
            <tr key={"month" in group ? group.month : (group.id ?? n)}>
              <th scope="row" className="nowrap">
                {named(group)}
              </th>
              <td className="number">{group.headcount.toLocaleString(language)}</td>
              <td className="barcolumn" aria-hidden="true">
                <svg className="bar" viewBox="0 0 100 10" preserveAspectRatio="none">
                  <rect width={(100 * group.headcount) / most} height="10" />
                </svg>
              </td>
              <td className="number nowrap">
                {group.annual_pay.map((pay) => formatMoney(pay.amount, pay.currency, language, 0)).join(" · ")}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
