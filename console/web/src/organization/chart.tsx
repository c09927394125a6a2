import { useState } from "react";
import { Link, useSearchParams } from "react-router";

import { useAsOf, useKeepDay } from "../app/asof";
import { useTexts } from "../i18n";
import { fullName, initials } from "../lib/names";
import { Button } from "../ui/button";
import { Empty, Loaded } from "../ui/page";
import { type ChartNode, useChart } from "./data";
import { OrganizationPage } from "./tabs";

/** How many levels are read at once. */
const LEVELS = 4;

/** Who reports to whom, as a tree that one opens and closes; from everybody at the top, or from one person. */
export function Chart() {
  const { say } = useTexts();
  const [asOf] = useAsOf();
  const [search, setSearch] = useSearchParams();
  const root = search.get("root") ?? undefined;
  const chart = useChart(asOf, root, LEVELS);
  const start = (id: string | null) =>
    setSearch((before) => {
      const after = new URLSearchParams(before);
      if (id) after.set("root", id);
      else after.delete("root");
      return after;
    });
  return (
    <OrganizationPage title={say("chart")} actions={root && <Button onPress={() => start(null)}>{say("chart.top")}</Button>}>
      <Loaded of={chart}>
        {(data) => {
          const known = new Set(data.nodes.map((node) => node.employee_id));
          const below = new Map<string | null, ChartNode[]>();
          for (const node of data.nodes) {
            const above = node.manager_id && known.has(node.manager_id) && node.employee_id !== root ? node.manager_id : null;
            below.set(above, [...(below.get(above) ?? []), node]);
          }
          if (data.nodes.length === 0) return <Empty>{say("people.none")}</Empty>;
          return (
            <>
              {data.truncated && <p className="soft">{say("chart.truncated")}</p>}
              <ul className="chart">
                {(below.get(null) ?? []).map((node) => (
                  <ChartLine key={node.employee_id} node={node} below={below} open={2} start={start} />
                ))}
              </ul>
            </>
          );
        }}
      </Loaded>
    </OrganizationPage>
  );
}

function ChartLine({ node, below, open, start }: {
  node: ChartNode;
  below: Map<string | null, ChartNode[]>;
  /** How many levels below are open at first. */
  open: number;
  start: (id: string) => void;
}) {
  const { say } = useTexts();
  const keep = useKeepDay();
  const [shown, setShown] = useState(open > 0);
  const reports = below.get(node.employee_id) ?? [];
  const name = fullName(node) ?? say("unnamed");
  return (
    <li>
      <div className="chartline">
        {node.direct_reports > 0 ? (
          <Button
            kind="quiet"
            aria-expanded={reports.length > 0 ? shown : false}
            aria-label={`${say("reports")}: ${name}`}
            onPress={() => (reports.length > 0 ? setShown(!shown) : start(node.employee_id))}
          >
            {reports.length > 0 && shown ? "▾" : "▸"}
          </Button>
        ) : (
          <span className="leaf" aria-hidden="true" />
        )}
        <span className="avatar" aria-hidden="true">
          {initials(node)}
        </span>
        <span>
          <Link to={keep(`/people/${node.employee_id}`)}>{name}</Link>
          <span className="soft">
            {" "}
            {node.job.name} · {node.department.name}
            {node.direct_reports > 0 && ` · ${say("chart.reports", { count: node.direct_reports })}`}
          </span>
        </span>
      </div>
      {shown && reports.length > 0 && (
        <ul>
          {reports.map((report) => (
            <ChartLine key={report.employee_id} node={report} below={below} open={open - 1} start={start} />
          ))}
        </ul>
      )}
    </li>
  );
}
