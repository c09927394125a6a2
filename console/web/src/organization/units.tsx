import type { ReactNode } from "react";
import { Link, Outlet } from "react-router";

import { useAsOf, useKeepDay } from "../app/asof";
import { useRights } from "../app/session";
import { useTexts } from "../i18n";
import { type Day, formatDay } from "../lib/day";
import { ButtonLink } from "../ui/button";
import { Badge, Empty, Loaded, type Read } from "../ui/page";
import { OrganizationPage } from "./tabs";

/** A row of such a list: a department, a job, a location. */
export interface UnitRow {
  id: string;
  name: string;
  code: string;
  since: Day;
  /** The first day without it. */
  until?: Day | null;
  /** The people who have to do with it. */
  people: string;
  /** How deep it stands in its tree. */
  depth?: number;
  /** Cells of its own, after the code. */
  more?: ReactNode[];
}

/** A list of units as of a day: each leads to its people, and whoever may gets the commands about it. */
export function UnitList<T>({ list, title, newLabel, none, nameLabel, moreLabels = [], query, rows, commands }: {
  /** Its address. */
  list: string;
  title: string;
  newLabel: string;
  /** What is said where there is none. */
  none: string;
  nameLabel: string;
  moreLabels?: string[];
  query: (asOf: Day | undefined) => Read<T[]>;
  rows: (all: T[]) => UnitRow[];
  /** The last part of each command's address, and what it is called. */
  commands: [string, string][];
}) {
  const { say, language } = useTexts();
  const keep = useKeepDay();
  const may = useRights().changes("directory");
  const [asOf] = useAsOf();
  const loaded = query(asOf);
  return (
    <OrganizationPage title={title} actions={may && <ButtonLink kind="main" to={keep(`${list}/new`)}>{newLabel}</ButtonLink>}>
      <Loaded of={loaded}>
        {(all) =>
          all.length === 0 ? (
            <Empty>{none}</Empty>
          ) : (
            <div className="scroll" tabIndex={0} role="region" aria-label={title}>
              <table>
                <thead>
                  <tr>
                    <th scope="col">{nameLabel}</th>
                    <th scope="col">{say("code")}</th>
                    {moreLabels.map((label) => (
                      <th key={label} scope="col">{label}</th>
                    ))}
                    <th scope="col">{say("since")}</th>
                    {may && <th scope="col">{say("actions")}</th>}
                  </tr>
                </thead>
                <tbody>
                  {rows(all).map((row) => (
                    <tr key={row.id}>
                      <th scope="row">
                        <Indented depth={row.depth}>
                          <Link to={keep(row.people)}>{row.name}</Link>
                          {row.until && <Badge kind="soft">{say("closed_on", { day: formatDay(row.until, language) })}</Badge>}
                        </Indented>
                      </th>
                      <td className="code">{row.code}</td>
                      {row.more?.map((cell, at) => <td key={at}>{cell}</td>)}
                      <td className="nowrap">{formatDay(row.since, language)}</td>
                      {may && <td className="nowrap">{!row.until && <RowCommands list={list} row={row} commands={commands} />}</td>}
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )
        }
      </Loaded>
      <Outlet />
    </OrganizationPage>
  );
}

function Indented({ depth, children }: { depth: number | undefined; children: ReactNode }) {
  return depth === undefined ? children : <span className={`indent depth-${Math.min(depth, 8)}`}>{children}</span>;
}

function RowCommands({ list, row, commands }: { list: string; row: UnitRow; commands: [string, string][] }) {
  const keep = useKeepDay();
  return commands.map(([path, label], at) => (
    <span key={path}>
      {at > 0 && " "}
      <Link className="rowcommand" to={keep(`${list}/${row.id}/${path}`)} aria-label={`${label}: ${row.name}`}>
        {label}
      </Link>
    </span>
  ));
}
