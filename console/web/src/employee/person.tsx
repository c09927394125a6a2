import { Link, Outlet, useParams } from "react-router";

import { useAsOf, useKeepDay, useToday } from "../app/asof";
import { useRights } from "../app/session";
import { useCode, useTexts } from "../i18n";
import { type Day, formatDay } from "../lib/day";
import { formatMoney } from "../lib/money";
import { fullName, initials } from "../lib/names";
import { Button, ButtonLink } from "../ui/button";
import { Badge, Facts, Loaded, Page } from "../ui/page";
import { type Employee, useHistory, usePerson } from "./data";
import { StatusBadge } from "./list";
import { daysOf, type Moment, momentsOf } from "./timeline";

export function Person() {
  const { say } = useTexts();
  const id = useParams()["id"] ?? "";
  const [asOf] = useAsOf();
  const person = usePerson(id, asOf);
  const name = person.data && (fullName(person.data.person) ?? say("unnamed"));
  return (
    <Page
      title={say("person")}
      heading={
        person.data ? (
          <span className="person">
            <span className="avatar large" aria-hidden="true">
              {initials(person.data.person)}
            </span>
            {name}
            <StatusBadge status={person.data.status} />
          </span>
        ) : (
          say("person")
        )
      }
      actions={person.data && <Commands person={person.data} />}
    >
      <Loaded of={person}>
        {(data) => (
          <div className="split">
            <PersonFacts person={data} />
            <Timeline id={id} />
          </div>
        )}
      </Loaded>
      <Outlet />
    </Page>
  );
}

/** What can be done about a person as they stand on the day. */
function Commands({ person }: { person: Employee }) {
  const { say } = useTexts();
  const rights = useRights();
  const keep = useKeepDay();
  const to = (command: string) => keep(`/people/${person.employee_id}/${command}`);
  const here = person.status !== "terminated";
  return (
    <>
      {here && rights.changes("pay") && <ButtonLink to={to("pay")}>{say("pay.change")}</ButtonLink>}
      {here && rights.changes("directory") && <ButtonLink to={to("assignment")}>{say("assignment.change")}</ButtonLink>}
      {rights.changes("personal") && <ButtonLink to={to("personal")}>{say("personal.change")}</ButtonLink>}
      {rights.changes("personal") && <ButtonLink to={to("contact")}>{say("contact.change")}</ButtonLink>}
      {here && rights.changes("directory") && <ButtonLink to={to("termination")}>{say("terminate")}</ButtonLink>}
      {!here && rights.changes("directory") && <ButtonLink to={to("rehire")}>{say("rehire")}</ButtonLink>}
    </>
  );
}

function PersonFacts({ person }: { person: Employee }) {
  const { say, language } = useTexts();
  const code = useCode();
  const keep = useKeepDay();
  const { assignment, pay, employment, contact } = person;
  const details = person.person;
  const day = (value: Day | null | undefined) => (value ? formatDay(value, language) : null);
  return (
    <div>
      <section aria-labelledby="facts-work">
        <h2 id="facts-work">{say("facts.work")}</h2>
        <Facts
          of={[
            [say("number"), person.employee_number && <span className="code">{person.employee_number}</span>],
            [say("job"), assignment?.job.name],
            [say("department"), assignment && <Link to={keep(`/people?department=${assignment.department.id}`)}>{assignment.department.name}</Link>],
            [say("location"), assignment?.location?.name],
            [
              say("manager"),
              assignment?.manager && <Link to={keep(`/people/${assignment.manager.id}`)}>{fullName(assignment.manager) ?? say("unnamed")}</Link>,
            ],
            [say("reports"), <Link to={keep(`/people?manager=${person.employee_id}`)}>{say("reports.show")}</Link>],
            [say("first_hired"), day(person.original_hire_date)],
            [say("employed_since"), day(employment?.starts_on)],
            ...(employment?.ends_on
              ? ([
                  [say("employed_until"), day(employment.ends_on)],
                  [say("reason"), employment.termination_reason && code("reason", employment.termination_reason)],
                ] as [string, React.ReactNode][])
              : []),
          ]}
        />
      </section>
      <section aria-labelledby="facts-pay">
        <h2 id="facts-pay">{say("pay")}</h2>
        {pay ? (
          <Facts
            of={[
              [say(`pay.${pay.per as "year" | "month" | "hour"}`), formatMoney(pay.rate, pay.currency, language)],
              [say("pay.annual"), formatMoney(pay.annual, pay.currency, language)],
              [say("since"), day(pay.since)],
              [say("reason"), code("reason", pay.reason)],
            ]}
          />
        ) : (
          <p className="soft">{say("facts.none_or_hidden")}</p>
        )}
      </section>
      <section aria-labelledby="facts-personal">
        <h2 id="facts-personal">{say("facts.personal")}</h2>
        <Facts
          of={[
            [say("birth_date"), day(details?.birth_date)],
            [say("gender"), details?.gender && code("gender", details.gender)],
            [say("work_email"), contact?.work_email && <a href={`mailto:${contact.work_email}`}>{contact.work_email}</a>],
            [say("private_email"), contact?.private_email],
            [say("phone"), contact?.phone],
          ]}
        />
      </section>
    </div>
  );
}

/** Everything that ever took effect. A day that is chosen is what the facts beside it are about. */
function Timeline({ id }: { id: string }) {
  const { say, language } = useTexts();
  const [asOf, setAsOf] = useAsOf();
  const today = useToday();
  const keep = useKeepDay();
  const rights = useRights();
  const history = useHistory(id);
  const at = asOf ?? today ?? "";
  return (
    <section aria-labelledby="timeline" className="timeline">
      <div className="headline">
        <h2 id="timeline">{say("timeline")}</h2>
        {rights.reads("pay") && rights.reads("personal") && (
          <Link className="soft" to={keep(`/people/${id}/events`)}>
            {say("events")}
          </Link>
        )}
      </div>
      <Loaded of={history}>
        {(data) => {
          const moments = momentsOf(data, (rate, currency) => formatMoney(rate, currency, language));
          const days = daysOf(moments);
          const before = days.filter((day) => day < at).at(-1);
          const after = days.find((day) => day > at);
          return (
            <>
              <div className="actions">
                <Button isDisabled={!before} onPress={() => setAsOf(before)}>
                  ‹ {say("change_before")}
                </Button>
                <Button isDisabled={!after} onPress={() => setAsOf(after)}>
                  {say("change_after")} ›
                </Button>
              </div>
              <ol>
                {[...days].reverse().map((day) => (
                  <li key={day} className={day > at ? "later" : ""} aria-current={day === asOf ? "date" : undefined}>
                    <Button kind="quiet" onPress={() => setAsOf(day)}>
                      {formatDay(day, language)}
                    </Button>
                    {today && day > today && <Badge kind="ahead">{say("ahead")}</Badge>}
                    <ul>
                      {moments
                        .filter((moment) => moment.day === day)
                        .map((moment, n) => (
                          <MomentLine key={`${moment.kind}-${n}`} moment={moment} />
                        ))}
                    </ul>
                  </li>
                ))}
              </ol>
            </>
          );
        }}
      </Loaded>
    </section>
  );
}

function MomentLine({ moment }: { moment: Moment }) {
  const { say, language } = useTexts();
  const code = useCode();
  const shown = (name: string, value: string | null) =>
    value === null ? say("nothing") : name === "birth_date" ? formatDay(value, language) : name === "gender" ? code("gender", value) : value;
  return (
    <li className={moment.superseded ? "superseded" : ""}>
      <strong>{say(`moment.${moment.kind}`)}</strong>
      {moment.facts.map(({ name, value }) => (
        <span key={name}>
          {" "}
          <span className="soft">{code("fact", name)}</span> {shown(name, value)}
        </span>
      ))}
      {moment.reason && <span className="soft"> · {code("reason", moment.reason)}</span>}
      {moment.superseded && <span className="soft"> · {say("superseded")}</span>}
    </li>
  );
}
