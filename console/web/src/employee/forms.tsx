import { type ReactNode, useState } from "react";
import { useNavigate, useParams } from "react-router";

import { Problem } from "../api/problem";
import { useAsOf, useKeepDay, useToday } from "../app/asof";
import { useTexts } from "../i18n";
import { type Day, formatDay } from "../lib/day";
import { decimalOf, formatMoney } from "../lib/money";
import { fullName } from "../lib/names";
import { departmentChoices, jobChoices, locationChoices, useDepartments, useJobs, useLocations } from "../organization/data";
import { Choose, Select, TextInput } from "../ui/fields";
import { orNull, useFields } from "../ui/fields-state";
import { CommandForm, Sheet } from "../ui/form";
import { Loaded, Waiting } from "../ui/page";
import { ReasonField } from "../ui/reason";
import {
  changeAssignment,
  changeContact,
  changePay,
  changePersonal,
  type Employee,
  hire,
  rehire,
  terminate,
  usePeople,
  usePerson,
} from "./data";

/** A form about the person of the address, who is loaded before, as they stand on the day that is asked about. */
function AboutPerson({ title, children }: { title: string; children: (person: Employee, today: Day, done: () => void) => ReactNode }) {
  const id = useParams()["id"] ?? "";
  const [asOf] = useAsOf();
  const today = useToday();
  const navigate = useNavigate();
  const keep = useKeepDay();
  const { say } = useTexts();
  const back = keep(`/people/${id}`);
  const person = usePerson(id, asOf);
  return (
    <Sheet title={title} back={back}>
      <Loaded of={person}>
        {(data) =>
          today ? (
            <AsOpened person={data}>{(person) => children(person, today, () => void navigate(back, { replace: true }))}</AsOpened>
          ) : (
            <Waiting text={say("loading")} />
          )
        }
      </Loaded>
    </Sheet>
  );
}

/** The person as they were when the form was opened. Were a later version sent along, whoever changed it would not be noticed. */
function AsOpened({ person, children }: { person: Employee; children: (person: Employee) => ReactNode }) {
  const [opened] = useState(person);
  return children(opened);
}

const CURRENCIES = ["EUR", "USD", "GBP", "CHF", "SGD", "JPY", "CAD", "AUD", "SEK", "NOK", "DKK", "PLN", "CZK", "HUF", "INR", "BRL"];
const PERIODS = ["year", "month", "hour"] as const;
type Period = (typeof PERIODS)[number];

/** Rate, currency and period. What is no number is refused at its field, as Tenure would. */
function PayFields({
  fields,
  set,
}: {
  fields: { amount: string; currency: string; per: string };
  set: (name: "amount" | "currency" | "per") => (value: string) => void;
}) {
  const { say } = useTexts();
  const currencies = CURRENCIES.includes(fields.currency) ? CURRENCIES : [fields.currency, ...CURRENCIES];
  return (
    <div className="row">
      <TextInput name="/pay/rate/amount" label={say("pay.amount")} inputMode="decimal" required value={fields.amount} onChange={set("amount")} />
      <Select
        label={say("pay.currency")}
        name="/pay/rate/currency"
        value={fields.currency}
        onChange={set("currency")}
        choices={currencies.map((id) => ({ id, label: id }))}
      />
      <Select
        label={say("pay.per")}
        name="/pay/per"
        value={fields.per}
        onChange={set("per")}
        choices={PERIODS.map((id) => ({ id, label: say(`pay.${id}`) }))}
      />
    </div>
  );
}

function payOf(fields: { amount: string; currency: string; per: string }, words: string) {
  const amount = decimalOf(fields.amount);
  if (amount === null) {
    throw new Problem(422, "invalid_field", "", [{ pointer: "/pay/rate/amount", code: "invalid_amount", detail: words }]);
  }
  return { rate: { amount, currency: fields.currency }, per: fields.per as Period };
}

export function ChangePay() {
  const { say } = useTexts();
  return (
    <AboutPerson title={say("pay.change")}>{(person, today, done) => <PayForm person={person} today={today} done={done} />}</AboutPerson>
  );
}

type Of = { person: Employee; today: Day; done: () => void };

function PayForm({ person, today, done }: Of) {
  const { say, language } = useTexts();
  const [fields, set] = useFields({
    day: today,
    amount: person.pay?.rate ?? "",
    currency: person.pay?.currency ?? "EUR",
    per: person.pay?.per ?? "year",
    reason: "annual_review",
  });
  const amount = decimalOf(fields.amount);
  const before = person.pay ? formatMoney(person.pay.rate, person.pay.currency, language) : say("nothing");
  const after = amount ? formatMoney(amount, fields.currency, language) : "…";
  return (
    <CommandForm
      submit={say("pay.change")}
      send={async (key) =>
        changePay(person.employee_id, key, person.version, {
          effective_on: fields.day,
          pay: payOf(fields, say("pay.not_a_number")),
          reason: fields.reason,
        })
      }
      done={done}
      follows={say("pay.follows", { day: formatDay(fields.day, language), before, after })}
    >
      <TextInput name="/effective_on" type="date" label={say("effective_on")} required value={fields.day} onChange={set("day")} />
      <PayFields fields={fields} set={set} />
      <ReasonField usual={["annual_review", "promotion", "adjustment", "correction"]} value={fields.reason} onChange={set("reason")} />
    </CommandForm>
  );
}

/** Whoever is found by what is typed. */
function PersonField({ name, label, value, known, onChange, asOf }: {
  name: string;
  label: string;
  value: string;
  /** Who is chosen already. */
  known?: { id: string; label: string } | undefined;
  onChange: (id: string) => void;
  asOf: Day | undefined;
}) {
  const { say } = useTexts();
  const [q, setQ] = useState("");
  const found = usePeople({ q: q.trim() }, asOf).data?.pages[0]?.items ?? [];
  const choices = found.map((one) => ({ id: one.employee_id, label: fullName(one) ?? say("unnamed"), hint: one.job?.name ?? "" }));
  if (known && !choices.some((choice) => choice.id === known.id)) choices.unshift({ ...known, hint: "" });
  return <Choose name={name} label={label} value={value} onChange={onChange} choices={choices} onSearch={setQ} emptyText={say("people.none")} />;
}

type AssignmentState = { department: string; job: string; location: string; manager: string };

function AssignmentFields({ prefix, fields, set, day, manager, required }: {
  /** Of the pointers. */
  prefix: string;
  fields: AssignmentState;
  set: (name: keyof AssignmentState) => (value: string) => void;
  day: Day;
  manager?: { id: string; label: string } | undefined;
  required: boolean;
}) {
  const { say } = useTexts();
  const departments = departmentChoices(useDepartments(day).data);
  const jobs = jobChoices(useJobs(day).data);
  const locations = locationChoices(useLocations(day).data);
  const emptyText = say("choose.none");
  return (
    <>
      <Choose name={`${prefix}/department_id`} label={say("department")} required={required} value={fields.department} onChange={set("department")} choices={departments} emptyText={emptyText} />
      <Choose name={`${prefix}/job_id`} label={say("job")} required={required} value={fields.job} onChange={set("job")} choices={jobs} emptyText={emptyText} />
      <Choose name={`${prefix}/location_id`} label={say("location")} value={fields.location} onChange={set("location")} choices={locations} emptyText={emptyText} />
      <PersonField name={`${prefix}/manager_id`} label={say("manager")} value={fields.manager} onChange={set("manager")} known={manager} asOf={day} />
    </>
  );
}

export function ChangeAssignment() {
  const { say } = useTexts();
  return (
    <AboutPerson title={say("assignment.change")}>
      {(person, today, done) => <AssignmentForm person={person} today={today} done={done} />}
    </AboutPerson>
  );
}

function AssignmentForm({ person, today, done }: Of) {
  const { say } = useTexts();
  const was = {
    department: person.assignment?.department.id ?? "",
    job: person.assignment?.job.id ?? "",
    location: person.assignment?.location?.id ?? "",
    manager: person.assignment?.manager?.id ?? "",
  };
  const [fields, set] = useFields({ day: today, reason: "transfer", ...was });
  const manager = person.assignment?.manager;
  // Only what was changed is sent: the rest stays as it is on that day.
  const changes = {
    ...(fields.department !== was.department ? { department_id: fields.department } : {}),
    ...(fields.job !== was.job ? { job_id: fields.job } : {}),
    ...(fields.location !== was.location ? { location_id: orNull(fields.location) } : {}),
    ...(fields.manager !== was.manager ? { manager_id: orNull(fields.manager) } : {}),
  };
  return (
    <CommandForm
      submit={say("assignment.change")}
      send={(key) => changeAssignment(person.employee_id, key, person.version, { effective_on: fields.day, changes, reason: fields.reason })}
      done={done}
      follows={Object.keys(changes).length === 0 ? say("change.none") : say("change.rest_stays")}
    >
      <TextInput name="/effective_on" type="date" label={say("effective_on")} required value={fields.day} onChange={set("day")} />
      <AssignmentFields
        prefix="/changes"
        fields={fields}
        set={set}
        day={fields.day}
        manager={manager ? { id: manager.id, label: fullName(manager) ?? say("unnamed") } : undefined}
        required
      />
      <ReasonField usual={["transfer", "promotion", "reorganization", "correction"]} value={fields.reason} onChange={set("reason")} />
    </CommandForm>
  );
}

const GENDERS = ["", "female", "male", "diverse"];

export function ChangePersonal() {
  const { say } = useTexts();
  return (
    <AboutPerson title={say("personal.change")}>
      {(person, today, done) => <PersonalForm person={person} today={today} done={done} />}
    </AboutPerson>
  );
}

function PersonalForm({ person, today, done }: Of) {
  const { say } = useTexts();
  const was = {
    given: person.person?.given_name ?? "",
    family: person.person?.family_name ?? "",
    birth: person.person?.birth_date ?? "",
    gender: person.person?.gender ?? "",
  };
  const [fields, set] = useFields({ day: today, ...was });
  const changes = {
    ...(fields.given !== was.given ? { given_name: fields.given } : {}),
    ...(fields.family !== was.family ? { family_name: fields.family } : {}),
    ...(fields.birth !== was.birth ? { birth_date: orNull(fields.birth) } : {}),
    ...(fields.gender !== was.gender ? { gender: orNull(fields.gender) } : {}),
  };
  return (
    <CommandForm
      submit={say("personal.change")}
      send={(key) => changePersonal(person.employee_id, key, person.version, { effective_on: fields.day, changes })}
      done={done}
      follows={Object.keys(changes).length === 0 ? say("change.none") : say("change.rest_stays")}
    >
      <TextInput name="/effective_on" type="date" label={say("effective_on")} required value={fields.day} onChange={set("day")} />
      <div className="row">
        <TextInput name="/changes/given_name" label={say("given_name")} value={fields.given} onChange={set("given")} />
        <TextInput name="/changes/family_name" label={say("family_name")} value={fields.family} onChange={set("family")} />
      </div>
      <TextInput name="/changes/birth_date" type="date" label={say("birth_date")} value={fields.birth} onChange={set("birth")} />
      <GenderField name="/changes/gender" value={fields.gender} onChange={set("gender")} />
    </CommandForm>
  );
}

function GenderField({ name, value, onChange }: { name: string; value: string; onChange: (value: string) => void }) {
  const { say } = useTexts();
  // As the person states it: words of their own stay as they are.
  const all = GENDERS.includes(value) ? GENDERS : [...GENDERS, value];
  const label = (id: string) => (id === "" ? say("gender.none") : id === "female" || id === "male" || id === "diverse" ? say(`gender.${id}`) : id);
  return <Select label={say("gender")} name={name} value={value} onChange={onChange} choices={all.map((id) => ({ id, label: label(id) }))} />;
}

export function ChangeContact() {
  const { say } = useTexts();
  return (
    <AboutPerson title={say("contact.change")}>{(person, today, done) => <ContactForm person={person} today={today} done={done} />}</AboutPerson>
  );
}

function ContactForm({ person, today, done }: Of) {
  const { say } = useTexts();
  const was = { work: person.contact?.work_email ?? "", personal: person.contact?.private_email ?? "", phone: person.contact?.phone ?? "" };
  const [fields, set] = useFields({ day: today, ...was });
  const changes = {
    ...(fields.work !== was.work ? { work_email: orNull(fields.work) } : {}),
    ...(fields.personal !== was.personal ? { private_email: orNull(fields.personal) } : {}),
    ...(fields.phone !== was.phone ? { phone: orNull(fields.phone.replace(/[\s()/-]/g, "")) } : {}),
  };
  return (
    <CommandForm
      submit={say("contact.change")}
      send={(key) => changeContact(person.employee_id, key, person.version, { effective_on: fields.day, changes })}
      done={done}
      follows={Object.keys(changes).length === 0 ? say("change.none") : say("change.rest_stays")}
    >
      <TextInput name="/effective_on" type="date" label={say("effective_on")} required value={fields.day} onChange={set("day")} />
      <TextInput name="/changes/work_email" type="email" label={say("work_email")} value={fields.work} onChange={set("work")} />
      <TextInput name="/changes/private_email" type="email" label={say("private_email")} value={fields.personal} onChange={set("personal")} />
      <TextInput name="/changes/phone" type="tel" label={say("phone")} hint={say("phone.hint")} value={fields.phone} onChange={set("phone")} />
    </CommandForm>
  );
}

export function Terminate() {
  const { say } = useTexts();
  return (
    <AboutPerson title={say("terminate")}>{(person, today, done) => <TerminationForm person={person} today={today} done={done} />}</AboutPerson>
  );
}

function TerminationForm({ person, today, done }: Of) {
  const { say, language } = useTexts();
  const [fields, set] = useFields({ day: today, reason: "resignation" });
  return (
    <CommandForm
      danger
      submit={say("terminate")}
      send={(key) => terminate(person.employee_id, key, person.version, { last_day_worked: fields.day, reason: fields.reason })}
      done={done}
      follows={say("terminate.follows", { name: fullName(person.person) ?? say("unnamed"), day: formatDay(fields.day, language) })}
    >
      <TextInput name="/last_day_worked" type="date" label={say("last_day_worked")} required value={fields.day} onChange={set("day")} />
      <ReasonField usual={["resignation", "retirement", "end_of_contract", "redundancy", "dismissal"]} value={fields.reason} onChange={set("reason")} />
    </CommandForm>
  );
}

export function Rehire() {
  const { say } = useTexts();
  return (
    <AboutPerson title={say("rehire")}>{(person, today, done) => <RehireForm person={person} today={today} done={done} />}</AboutPerson>
  );
}

const NO_PAY = { amount: "", currency: "EUR", per: "year" };
const NO_ASSIGNMENT = { department: "", job: "", location: "", manager: "" };

const assignmentOf = (fields: AssignmentState) => ({
  department_id: fields.department,
  job_id: fields.job,
  ...(fields.location ? { location_id: fields.location } : {}),
  ...(fields.manager ? { manager_id: fields.manager } : {}),
});

function RehireForm({ person, today, done }: Of) {
  const { say } = useTexts();
  const [fields, set] = useFields({ day: today, ...NO_ASSIGNMENT, ...NO_PAY });
  return (
    <CommandForm
      submit={say("rehire")}
      send={async (key) =>
        rehire(person.employee_id, key, person.version, {
          hire_date: fields.day,
          assignment: assignmentOf(fields),
          ...(fields.amount ? { pay: payOf(fields, say("pay.not_a_number")) } : {}),
        })
      }
      done={done}
    >
      <TextInput name="/hire_date" type="date" label={say("hire_date")} required value={fields.day} onChange={set("day")} />
      <AssignmentFields prefix="/assignment" fields={fields} set={set} day={fields.day} required />
      <OptionalPay fields={fields} set={set} />
    </CommandForm>
  );
}

/** Pay may be said later. */
function OptionalPay({ fields, set }: { fields: typeof NO_PAY; set: (name: keyof typeof NO_PAY) => (value: string) => void }) {
  const { say } = useTexts();
  const [open, setOpen] = useState(false);
  return (
    <fieldset className="checks">
      <label>
        <input
          type="checkbox"
          checked={open}
          onChange={(event) => {
            setOpen(event.target.checked);
            if (!event.target.checked) set("amount")("");
          }}
        />
        <span>{say("pay.with")}</span>
      </label>
      {open && <PayFields fields={fields} set={set} />}
    </fieldset>
  );
}

export function Hire() {
  const { say } = useTexts();
  const today = useToday();
  const keep = useKeepDay();
  return (
    <Sheet title={say("hire")} back={keep("/people")}>
      {today ? <HireForm today={today} /> : <Waiting text={say("loading")} />}
    </Sheet>
  );
}

function HireForm({ today }: { today: Day }) {
  const { say } = useTexts();
  const navigate = useNavigate();
  const [fields, set] = useFields({
    day: today, number: "", given: "", family: "", birth: "", gender: "", work: "", ...NO_ASSIGNMENT, ...NO_PAY,
  });
  return (
    <CommandForm
      submit={say("hire")}
      send={async (key) =>
        hire(key, {
          hire_date: fields.day,
          employee_number: fields.number,
          person: { given_name: fields.given, family_name: fields.family, birth_date: orNull(fields.birth), gender: orNull(fields.gender) },
          ...(fields.work ? { contact: { work_email: fields.work } } : {}),
          assignment: assignmentOf(fields),
          ...(fields.amount ? { pay: payOf(fields, say("pay.not_a_number")) } : {}),
        })
      }
      done={(answer) => void navigate(`/people/${(answer as { id: string }).id}`)}
    >
      <div className="row">
        <TextInput name="/hire_date" type="date" label={say("hire_date")} required value={fields.day} onChange={set("day")} />
        <TextInput name="/employee_number" label={say("number")} required value={fields.number} onChange={set("number")} />
      </div>
      <div className="row">
        <TextInput name="/person/given_name" label={say("given_name")} required value={fields.given} onChange={set("given")} />
        <TextInput name="/person/family_name" label={say("family_name")} value={fields.family} onChange={set("family")} />
      </div>
      <div className="row">
        <TextInput name="/person/birth_date" type="date" label={say("birth_date")} value={fields.birth} onChange={set("birth")} />
        <GenderField name="/person/gender" value={fields.gender} onChange={set("gender")} />
      </div>
      <TextInput name="/contact/work_email" type="email" label={say("work_email")} value={fields.work} onChange={set("work")} />
      <AssignmentFields prefix="/assignment" fields={fields} set={set} day={fields.day} required />
      <OptionalPay fields={fields} set={set} />
    </CommandForm>
  );
}
