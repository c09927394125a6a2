export { Events } from "./events";
export { ChangeAssignment, ChangeContact, ChangePay, ChangePersonal, Hire, Rehire, Terminate } from "./forms";
export { People } from "./list";
export { Person } from "./person";
