import { useState } from "react";
import { Link, Outlet, useParams } from "react-router";

import { useAsOf, useKeepDay } from "../app/asof";
import { useRights } from "../app/session";
import { useTexts } from "../i18n";
import { formatDay } from "../lib/day";
import { ButtonLink } from "../ui/button";
import { Choose, TextInput } from "../ui/fields";
import { useFields } from "../ui/fields-state";
import { Badge, Empty, Loaded } from "../ui/page";
import { closeDepartment, createDepartment, type Department, departmentChoices, moveDepartment, renameDepartment, useDepartments } from "./data";
import { FromDay, OrganizationPage } from "./tabs";
import { inTreeOrder } from "./tree";

const LIST = "/organization/departments";

export function Departments() {
  const { say, language } = useTexts();
  const keep = useKeepDay();
  const rights = useRights();
  const [asOf] = useAsOf();
  const departments = useDepartments(asOf);
  const may = rights.changes("directory");
  return (
    <OrganizationPage title={say("departments")} actions={may && <ButtonLink kind="main" to={keep(`${LIST}/new`)}>{say("department.new")}</ButtonLink>}>
      <Loaded of={departments}>
        {(all) =>
          all.length === 0 ? (
            <Empty>{say("departments.none")}</Empty>
          ) : (
            <div className="scroll" tabIndex={0} role="region" aria-label={say("departments")}>
              <table>
                <thead>
                  <tr>
                    <th scope="col">{say("name")}</th>
                    <th scope="col">{say("code")}</th>
                    <th scope="col">{say("since")}</th>
                    {may && <th scope="col">{say("actions")}</th>}
                  </tr>
                </thead>
                <tbody>
                  {inTreeOrder(all).map(([department, depth]) => (
                    <tr key={department.department_id}>
                      <th scope="row">
                        <span className={`indent depth-${Math.min(depth, 8)}`}>
                          <Link to={keep(`/people?department=${department.department_id}`)}>{department.name}</Link>
                          {department.valid_to && <Badge kind="soft">{say("closed_on", { day: formatDay(department.valid_to, language) })}</Badge>}
                        </span>
                      </th>
                      <td className="code">{department.code}</td>
                      <td className="nowrap">{formatDay(department.valid_from, language)}</td>
                      {may && (
                        <td className="nowrap">
                          {!department.valid_to && <RowCommands id={department.department_id} name={department.name} />}
                        </td>
                      )}
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

function RowCommands({ id, name }: { id: string; name: string }) {
  const { say } = useTexts();
  const keep = useKeepDay();
  const link = (command: string, label: string) => (
    <Link className="rowcommand" to={keep(`${LIST}/${id}/${command}`)} aria-label={`${label}: ${name}`}>
      {label}
    </Link>
  );
  return (
    <>
      {link("name", say("rename"))} {link("parent", say("move"))} {link("closure", say("close_it"))}
    </>
  );
}

/** The department of the address, as it is on the day asked about. */
function useDepartment(): Department | undefined {
  const id = useParams()["id"];
  const [asOf] = useAsOf();
  return useDepartments(asOf).data?.find((one) => one.department_id === id);
}

export function NewDepartment() {
  const { say } = useTexts();
  const [fields, set] = useFields({ code: "", name: "", parent: "" });
  return (
    <FromDay
      title={say("department.new")}
      list={LIST}
      send={(key, day) =>
        createDepartment(key, { effective_on: day, code: fields.code, name: fields.name, ...(fields.parent ? { parent_id: fields.parent } : {}) })
      }
    >
      {(day) => (
        <>
          <TextInput name="/name" label={say("name")} required value={fields.name} onChange={set("name")} />
          <TextInput name="/code" label={say("code")} hint={say("code.hint")} required value={fields.code} onChange={set("code")} />
          <ParentField day={day} value={fields.parent} onChange={set("parent")} />
        </>
      )}
    </FromDay>
  );
}

function ParentField({ day, value, onChange, but }: { day: string; value: string; onChange: (id: string) => void; but?: string | undefined }) {
  const { say } = useTexts();
  const choices = departmentChoices(useDepartments(day).data).filter((choice) => choice.id !== but);
  return <Choose name="/parent_id" label={say("department.parent")} hint={say("department.parent.hint")} value={value} onChange={onChange} choices={choices} emptyText={say("choose.none")} />;
}

export function RenameDepartment() {
  const { say } = useTexts();
  const department = useDepartment();
  const [name, setName] = useState<string | null>(null);
  const shown = name ?? department?.name ?? "";
  return (
    <FromDay title={say("rename")} list={LIST} send={(key, day) => renameDepartment(department?.department_id ?? "", key, { effective_on: day, name: shown })}>
      {() => <TextInput name="/name" label={say("name")} required value={shown} onChange={setName} />}
    </FromDay>
  );
}

export function MoveDepartment() {
  const { say } = useTexts();
  const department = useDepartment();
  const [parent, setParent] = useState<string | null>(null);
  const shown = parent ?? department?.parent_id ?? "";
  return (
    <FromDay
      title={say("move")}
      list={LIST}
      send={(key, day) => moveDepartment(department?.department_id ?? "", key, { effective_on: day, parent_id: shown || null })}
      follows={() => say("department.move.follows", { name: department?.name ?? "" })}
    >
      {(day) => <ParentField day={day} value={shown} onChange={setParent} but={department?.department_id} />}
    </FromDay>
  );
}

export function CloseDepartment() {
  const { say, language } = useTexts();
  const department = useDepartment();
  return (
    <FromDay
      danger
      title={say("close_it")}
      list={LIST}
      send={(key, day) => closeDepartment(department?.department_id ?? "", key, { effective_on: day })}
      follows={(day) => say("close.follows", { name: department?.name ?? "", day: formatDay(day, language) })}
    />
  );
}
