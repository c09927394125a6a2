import { useState } from "react";
import { useParams } from "react-router";

import { useAsOf } from "../app/asof";
import { useTexts } from "../i18n";
import { formatDay } from "../lib/day";
import { Choose, TextInput } from "../ui/fields";
import { useFields } from "../ui/fields-state";
import { closeDepartment, createDepartment, type Department, departmentChoices, moveDepartment, renameDepartment, useDepartments } from "./data";
import { FromDay } from "./tabs";
import { inTreeOrder } from "./tree";
import { UnitList } from "./units";

const LIST = "/organization/departments";

export function Departments() {
  const { say } = useTexts();
  return (
    <UnitList
      list={LIST}
      title={say("departments")}
      newLabel={say("department.new")}
      none={say("departments.none")}
      nameLabel={say("name")}
      query={useDepartments}
      rows={(all) =>
        inTreeOrder(all).map(([department, depth]) => ({
          id: department.department_id,
          name: department.name,
          code: department.code,
          since: department.valid_from,
          until: department.valid_to,
          people: `/people?department=${department.department_id}`,
          depth,
        }))
      }
      commands={[["name", say("rename")], ["parent", say("move")], ["closure", say("close_it")]]}
    />
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
