# SPDX-License-Identifier: Apache-2.0
*** Settings ***
Resource          m3net.resource

*** Variables ***
${BOARD}          stm32f4_discovery
${UART}           sysbus.usart2
${JOB_ADDRESS}    0x10000000

*** Test Cases ***
The Board Answers The Same Bytes As The Desktop
    Answers Should Be The Desktop's

The Board Hears Sound In Its Memory
    Sound Should Give The Desktop's Features And Labels

The Board Refuses A Damaged Job
    Damaged Job Should Be Refused

The Board Speaks MLPerf Tiny
    Benchmark Session Should Give The Desktop's Scores

The Board Hears Sound Over Its Console
    Sound Over The Console Should Give The Desktop's Label
