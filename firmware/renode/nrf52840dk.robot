# SPDX-License-Identifier: Apache-2.0
*** Settings ***
Resource          m3net.resource

*** Variables ***
${BOARD}          nrf52840dk
${UART}           sysbus.uart0
${JOB_ADDRESS}    0x20030000

*** Test Cases ***
The Board Answers The Same Bytes As The Desktop
    Answers Should Be The Desktop's

The Board Hears Sound In Its Memory
    Sound Should Give The Desktop's Features And Labels

The Board Refuses A Damaged Job
    Damaged Job Should Be Refused

The Board Speaks MLPerf Tiny
    Benchmark Session Should Give The Desktop's Scores

The Board Records Its Microphone
    Microphone Should Record What It Hears    sysbus.pdm SetInputFile

The Board Listens To Its Microphone
    Microphone Should Give The Desktop's Columns    sysbus.pdm SetInputFile
